"""Overall status of a shard, from the report of the config service and the probe of its instances. Pure."""

from dataclasses import dataclass
from typing import Any

from configservice.failover.durability import DurabilityState
from configservice.failover.shard_reports import ShardReport
from viewcounter.health.cluster_health import ShardHealth, Status
from viewcounter.health.shard_condition import describe_condition, describe_log, encode_report


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """`report` is None while the control database does not answer."""

    health: ShardHealth
    report: ShardReport | None
    status: Status
    reason: str


def classify_shard(health: ShardHealth, report: ShardReport | None) -> ShardStatus:
    """The worst status of condition, durability and kept event log, with all reasons."""
    known = (Status.DEGRADED, "condition unknown") if report is None else describe_condition(report)
    statuses, reasons = [known[0]], [known[1]]
    if health.durability is not DurabilityState.MET:
        statuses.append(Status.DOWN if health.durability is DurabilityState.BLOCKED else Status.DEGRADED)
        reasons.append(f"durability {health.durability}: {health.durability_reason}")
    if report is not None and (kept := describe_log(report, {})):
        statuses.append(Status.DEGRADED)
        reasons.append(f"event log {kept}")
    if health.open_losses:
        statuses.append(Status.DEGRADED)
        reasons.append(describe_open_losses(health.open_losses))
    worst = max(statuses, key=list(Status).index)
    return ShardStatus(health, report, worst, "; ".join(text for text in reasons if text))


def describe_open_losses(count: int) -> str:
    return f"the event log has lost {count} ranges of entries, see `manage.py log_losses list --open`"


def encode_shard(shard: ShardStatus) -> dict[str, Any]:
    """For JSON; instants are datetimes."""
    health = shard.health
    primary = health.shard.primary
    return {
        "name": health.shard.name,
        "status": shard.status,
        "reason": shard.reason,
        "term": health.shard.term,
        "primary": None if primary is None else primary.name,
        "partition_count": len(health.partitions),
        **encode_report(shard.report),
        "durability": {"state": health.durability, "reason": health.durability_reason},
    }

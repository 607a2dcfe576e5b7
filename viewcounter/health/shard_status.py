"""One line for a shard, of what the config service knows of it and what its instances say now. Pure."""

from dataclasses import dataclass
from typing import Any

from configservice.failover.durability import DurabilityState
from configservice.monitoring.shard_reports import ShardReport
from viewcounter.health.cluster_health import ShardHealth, Status
from viewcounter.health.shard_condition import describe_condition, describe_log, encode_report


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """`report` None: the control database does not answer."""

    standing: ShardHealth
    report: ShardReport | None
    status: Status
    reason: str


def classify_shard(standing: ShardHealth, report: ShardReport | None) -> ShardStatus:
    """The worst of its condition, its durability and what the event log keeps for it, and all reasons."""
    known = (Status.DEGRADED, "its condition is not known") if report is None else describe_condition(report)
    statuses, reasons = [known[0]], [known[1]]
    if standing.durability is not DurabilityState.MET:
        statuses.append(Status.DOWN if standing.durability is DurabilityState.BLOCKED else Status.DEGRADED)
        reasons.append(f"durability {standing.durability}: {standing.durability_reason}")
    if report is not None and (kept := describe_log(report, {})):
        statuses.append(Status.DEGRADED)
        reasons.append(f"event log {kept}")
    worst = max(statuses, key=list(Status).index)
    return ShardStatus(standing, report, worst, "; ".join(text for text in reasons if text))


def encode_shard(shard: ShardStatus) -> dict[str, Any]:
    """As JSON, times as datetimes."""
    standing = shard.standing
    primary = standing.shard.primary
    return {
        "name": standing.shard.name,
        "status": shard.status,
        "reason": shard.reason,
        "term": standing.shard.term,
        "primary": None if primary is None else primary.name,
        "partition_count": len(standing.partitions),
        **encode_report(shard.report),
        "durability": {"state": standing.durability, "reason": standing.durability_reason},
    }

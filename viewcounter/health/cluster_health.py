"""Cluster health snapshot: probes all instances in parallel and classifies the results. Writes nothing."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clusterproxy.broadcast import Rows
from clusterproxy.proxy import ClusterProxy
from configservice.errors import ControlDatabaseUnavailable
from configservice.failover.durability import DurabilityState, SeenOnPrimary, classify_durability, list_settings
from configservice.topology.model import Instance, Role, Shard, Topology
from configservice.topology.publication import find_unsigned_epoch
from runtime.metrics import DURABILITY_UNMET, LOG_LOSSES_OPEN, TOPOLOGY_UNSIGNED
from shardproxy.errors import (
    BadStatement,
    Conflict,
    DeadlineExceeded,
    InstanceUnavailable,
    OutOfResources,
    PoolExhausted,
    ShardProxyError,
    StatementTimeout,
)
from viewcounter.storage import partitions
from viewcounter.storage.instance_probe import PROBE_INSTANCE

COMMIT_PATIENCE_SECONDS = 2.0
"""Commits count as blocked once one of them has waited this long for standbys."""

# Public texts: they state the problem and never name hosts.
_REASONS: dict[type[ShardProxyError], str] = {
    InstanceUnavailable: "does not take connections",
    DeadlineExceeded: "does not answer in time",
    StatementTimeout: "answers too slowly",
    PoolExhausted: "all connections to it are in use",
    OutOfResources: "has no disk, memory or connections left",
    BadStatement: "lacks tables of this release: run migrate_shards",
    Conflict: "cancelled the query: a recovery conflict while it replays WAL",
}
_TRANSIENT = (PoolExhausted, Conflict)


class Status(StrEnum):
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class InstanceCondition:
    """`reason`: why the instance is not up, without host names. The other fields are None if it does not answer."""

    instance: Instance
    status: Status
    reason: str = ""
    lag_seconds: float | None = None
    schema_version: str | None = None


@dataclass(frozen=True, slots=True)
class ShardHealth:
    shard: Shard
    partitions: tuple[int, ...]
    instances: tuple[InstanceCondition, ...]
    durability: DurabilityState
    durability_reason: str
    synchronous_setting: str | None
    """`synchronous_standby_names` of the primary; None while it does not answer."""
    deletion_behind_seconds: float | None = None
    """How far the reference time of deletion by age lags the primary's clock; None while it does not answer."""
    open_losses: int | None = None
    """Ranges that the event log has lost and no operator has closed; None while the primary does not answer."""

    @property
    def has_our_schema(self) -> bool:
        """Whether all instances that answer have the schema of this release."""
        return all(i.schema_version in (None, partitions.EXPECTED_SCHEMA_VERSION) for i in self.instances)


def probe_cluster(
    cluster: ClusterProxy, *, timeout_seconds: float, max_lag_seconds: float
) -> tuple[Topology, tuple[ShardHealth, ...]]:
    """The probe of each instance is bounded by `timeout_seconds`. Raises NoTopology."""
    topology = cluster.topology
    answers = cluster.query_all_instances(PROBE_INSTANCE, {}, timeout_seconds=timeout_seconds)
    return topology, build_cluster_health(topology, answers, max_lag_seconds=max_lag_seconds)


def build_cluster_health(
    topology: Topology, answers: Mapping[str, Rows | ShardProxyError], *, max_lag_seconds: float
) -> tuple[ShardHealth, ...]:
    """Pure. An instance without an entry in `answers` came with a newer topology and has not been probed yet."""
    return tuple(_build_shard(topology, shard, answers, max_lag_seconds=max_lag_seconds) for shard in topology.shards)


def _build_shard(
    topology: Topology, shard: Shard, answers: Mapping[str, Rows | ShardProxyError], *, max_lag_seconds: float
) -> ShardHealth:
    primary = None if shard.primary is None else answers.get(shard.primary.name)
    row = None if primary is None or isinstance(primary, ShardProxyError) else primary[0]
    seen = None if row is None else _build_seen(row)
    state, reason = classify_durability(shard, seen, patience_seconds=COMMIT_PATIENCE_SECONDS)
    return ShardHealth(
        shard=shard,
        partitions=tuple(topology.get_partitions_of(shard.id)),
        instances=tuple(
            classify_instance(i, answers.get(i.name), max_lag_seconds=max_lag_seconds) for i in shard.instances
        ),
        durability=state,
        durability_reason=reason,
        synchronous_setting=None if seen is None else seen.setting,
        deletion_behind_seconds=None if row is None else row["deletion_behind_seconds"],
        open_losses=None if row is None else row["open_losses"],
    )


def is_applied(health: ShardHealth) -> bool:
    """Whether the primary's setting is one of those that the shard's durability allows, whichever replicas are up."""
    return health.synchronous_setting in list_settings(health.shard)


def _build_seen(row: Mapping[str, Any]) -> SeenOnPrimary:
    return SeenOnPrimary(
        setting=row["synchronous_setting"],
        synchronous=tuple(row["synchronous"]),
        oldest_wait_seconds=row["oldest_wait_seconds"],
    )


def classify_instance(
    instance: Instance, answer: Rows | ShardProxyError | None, *, max_lag_seconds: float
) -> InstanceCondition:
    if answer is None:
        return InstanceCondition(instance, Status.DEGRADED, "has not been probed yet")
    if isinstance(answer, ShardProxyError):
        reason = next((text for kind, text in _REASONS.items() if isinstance(answer, kind)), "does not answer")
        return InstanceCondition(instance, Status.DEGRADED if isinstance(answer, _TRANSIENT) else Status.DOWN, reason)
    row = answer[0]
    status, reason = _classify_role(instance, row, max_lag_seconds=max_lag_seconds)
    return InstanceCondition(instance, status, reason, row["lag_seconds"], row["schema_version"] or "none")


def _classify_role(instance: Instance, row: Mapping[str, Any], *, max_lag_seconds: float) -> tuple[Status, str]:
    if instance.role is Role.FENCED:
        return Status.DEGRADED, "is fenced until it has rejoined"
    if instance.role is Role.PRIMARY:
        trouble = "is a standby: takes no writes" if row["in_recovery"] else "takes no writes"
        return (Status.DOWN, trouble) if row["in_recovery"] or row["is_read_only"] else (Status.UP, "")
    trouble = _find_replica_problem(row, max_lag_seconds=max_lag_seconds)
    if trouble:
        return Status.DEGRADED, trouble
    return Status.UP, "drained" if instance.drained else ""


def _find_replica_problem(row: Mapping[str, Any], *, max_lag_seconds: float) -> str:
    if not row["in_recovery"]:
        return "follows no primary"
    if row["lag_seconds"] is None:
        return "replication lag unknown"
    if row["lag_seconds"] > max_lag_seconds:
        return f"is {row['lag_seconds']:.0f} s behind"
    return "" if row["is_receiving"] else "receives nothing from its primary"


def publish_durability(shards: Sequence[ShardHealth]) -> None:
    """Set the gauges."""
    for health in shards:
        DURABILITY_UNMET.labels(health.shard.name).set(health.durability is not DurabilityState.MET)


def publish_open_losses(shards: Sequence[ShardHealth]) -> None:
    """Set the gauges; that of a shard whose primary does not answer keeps its last value."""
    for health in shards:
        if health.open_losses is not None:
            LOG_LOSSES_OPEN.labels(health.shard.name).set(health.open_losses)


def publish_signature() -> None:
    """Set the gauge; while the control database is unreachable it keeps its last value."""
    with suppress(ControlDatabaseUnavailable):
        TOPOLOGY_UNSIGNED.set(int(find_unsigned_epoch() is not None))

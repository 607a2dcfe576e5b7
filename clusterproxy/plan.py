"""Which instances to ask, and in what order. Pure: the same arguments always give the same plan.

A plan names every instance that may answer, best first. Instances that look bad stay on it, last: what this process
believes of them may be old, and a wrong belief must not refuse a read that somebody could have answered.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from configservice.topology import Instance, Shard, Topology


class Consistency(StrEnum):
    EVENTUAL = "eventual"
    """Any instance: what it has may be a little old."""
    STRONG = "strong"
    """The primary only: everything committed is seen."""


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """What this process believes of an instance now.

    `reachable` is None while nothing has been measured. `lag_seconds` is None when it is unknown. `accepting` is the
    breaker's word: False while the instance is being left alone.
    """

    reachable: bool | None = None
    lag_seconds: float | None = None
    accepting: bool = True

    @property
    def usable(self) -> bool:
        return self.accepting and self.reachable is not False


UNMEASURED = InstanceHealth()


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """`candidates` in the order to be asked."""

    epoch: int
    shard: Shard
    candidates: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class WritePlan:
    """`primary` is None while a shard has none: a failover is under way."""

    epoch: int
    shard: Shard
    primary: Instance | None


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """What a process reads where: its own zone first, and no replica further behind than this."""

    zone: str
    replica_max_lag_seconds: float


def plan_read(
    topology: Topology,
    shard: Shard,
    *,
    consistency: Consistency,
    policy: ReadPolicy,
    health: Mapping[str, InstanceHealth],
    turn: int,
) -> ReadPlan:
    """Copies of `shard` that may answer: fresh replicas, primary, stale replicas, and last those that look dead.

    `turn` rotates each group, so that a counter makes round robin.
    """
    primary = shard.primary
    primaries = () if primary is None else (primary,)
    if consistency is Consistency.STRONG:
        return ReadPlan(topology.epoch, shard, primaries)
    usable = [r for r in shard.replicas if health.get(r.name, UNMEASURED).usable]
    fresh = [r for r in usable if _is_fresh(health.get(r.name, UNMEASURED), policy)]
    stale = [r for r in usable if r not in fresh]
    living = (
        *_rotate_by_zone(fresh, zone=policy.zone, turn=turn),
        *(p for p in primaries if health.get(p.name, UNMEASURED).usable),
        *_rotate_by_zone(stale, zone=policy.zone, turn=turn),
    )
    doubtful = [i for i in shard.copies if i not in living]
    return ReadPlan(topology.epoch, shard, (*living, *_rotate_by_zone(doubtful, zone=policy.zone, turn=turn)))


def plan_write(topology: Topology, shard: Shard) -> WritePlan:
    return WritePlan(topology.epoch, shard, shard.primary)


def plan_scatter(topology: Topology, partitions: Collection[int] | None) -> dict[int, list[int]]:
    """Partitions by the id of the shard that owns them, ascending; None means all. Raises IndexError for a bad one."""
    wanted = range(topology.partition_count) if partitions is None else sorted(set(partitions))
    by_shard: dict[int, list[int]] = {}
    for partition in wanted:
        by_shard.setdefault(topology.get_shard_of(partition).id, []).append(partition)
    return by_shard


def plan_attempt(*, remaining_seconds: float, answer_seconds: float, is_last: bool) -> float:
    """How long one candidate may take: what a living server needs, but half the time left while others remain."""
    return min(answer_seconds, remaining_seconds if is_last else remaining_seconds / 2)


def _is_fresh(health: InstanceHealth, policy: ReadPolicy) -> bool:
    """A replica not measured yet counts as fresh: a new process would otherwise send every read to the primary."""
    if health.reachable is None:
        return True
    return health.lag_seconds is not None and health.lag_seconds <= policy.replica_max_lag_seconds


def _rotate_by_zone(instances: list[Instance], *, zone: str, turn: int) -> tuple[Instance, ...]:
    near = [i for i in instances if i.zone == zone]
    far = [i for i in instances if i.zone != zone]
    return (*_rotate(near, turn), *_rotate(far, turn))


def _rotate(instances: list[Instance], turn: int) -> list[Instance]:
    if not instances:
        return []
    start = turn % len(instances)
    return instances[start:] + instances[:start]

"""Which instances to ask, and in what order. Pure: the same arguments always give the same plan.

A plan names every instance that may answer, best first. Instances that look bad stay on it, last: what this process
believes of them may be old, and a wrong belief must not refuse a read that somebody could have answered. Only an
instance that an operator has drained is not asked at all.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from clusterproxy.balancing import IDLE, Balancer, InstanceLoad, order_instances
from configservice.topology.model import Durability, Instance, Role, Shard, StandbyLoss, Topology
from shardproxy.query import QueryClass


class Consistency(StrEnum):
    EVENTUAL = "eventual"
    """Any instance: what it has may be a little old."""
    STRONG = "strong"
    """The primary only: everything committed is seen."""
    QUORUM = "quorum"
    """So many instances say how far they are that one of them has every acknowledged write; the furthest answers."""


class Reason(StrEnum):
    """Why an instance stands where it stands on a plan."""

    STRONG = "strong"
    """It is the primary, and only the primary may answer."""
    NEAR_REPLICA = "near_replica"
    """A fresh replica in the zone of this process."""
    FAR_REPLICA = "far_replica"
    """A fresh replica in another zone."""
    PRIMARY = "primary"
    """The primary: no fresh replica answers."""
    LATE_REPLICA = "late_replica"
    """A replica behind the limit: nothing fresher answers."""
    DOUBTFUL = "doubtful"
    """It looked dead; nothing else answers."""
    FURTHEST = "furthest"
    """Of the instances that a quorum needs, none is further."""


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """What this process believes of an instance now.

    `reachable` is None while nothing has been measured. `lag_seconds` is None when it is unknown. `accepting` is the
    breaker's word: False while the instance is being left alone.
    """

    reachable: bool | None = None
    lag_seconds: float | None = None
    accepting: bool = True
    load: InstanceLoad = IDLE

    @property
    def usable(self) -> bool:
        return self.accepting and self.reachable is not False


UNMEASURED = InstanceHealth()


class Candidate(NamedTuple):
    instance: Instance
    reason: Reason


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """`candidates` in the order to be asked."""

    epoch: int
    shard: Shard
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class WritePlan:
    """`primary` is None while a shard has none: a failover is under way."""

    epoch: int
    shard: Shard
    primary: Instance | None


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """What a process reads where: its own zone first, no replica further behind than this, equals by the balancer."""

    zone: str
    replica_max_lag_seconds: float
    balancer: Balancer = Balancer.ROUND_ROBIN


def plan_read(
    topology: Topology,
    shard: Shard,
    *,
    consistency: Consistency,
    policy: ReadPolicy,
    health: Mapping[str, InstanceHealth],
    turn: int,
    key: int,
) -> ReadPlan:
    """Copies of `shard` that may answer: fresh replicas, primary, stale replicas, and last those that look dead.

    `turn` grows with each read and `key` says what is read: the balancer orders by one or the other.
    """
    primary = shard.primary
    if consistency is Consistency.STRONG:
        strong = () if primary is None else (Candidate(primary, Reason.STRONG),)
        return ReadPlan(topology.epoch, shard, strong)
    fresh: list[Instance] = []
    late: list[Instance] = []
    doubtful: list[Instance] = []
    living_primary: tuple[Candidate, ...] = ()
    for instance in shard.copies:
        if instance.drained:
            continue
        believed = health.get(instance.name, UNMEASURED)
        if not believed.usable:
            doubtful.append(instance)
        elif instance.role is Role.PRIMARY:
            living_primary = (Candidate(instance, Reason.PRIMARY),)
        elif _is_fresh(believed, policy):
            fresh.append(instance)
        else:
            late.append(instance)
    candidates = (
        *(
            Candidate(i, Reason.NEAR_REPLICA if i.zone == policy.zone else Reason.FAR_REPLICA)
            for i in _order(fresh, policy=policy, health=health, turn=turn, key=key)
        ),
        *living_primary,
        *(Candidate(i, Reason.LATE_REPLICA) for i in _order(late, policy=policy, health=health, turn=turn, key=key)),
        *(Candidate(i, Reason.DOUBTFUL) for i in _order(doubtful, policy=policy, health=health, turn=turn, key=key)),
    )
    return ReadPlan(topology.epoch, shard, candidates)


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


def plan_wait(*, remaining_seconds: float, is_last: bool) -> float:
    """How long to wait for one instance to come far enough: half of the time left while others remain to be asked."""
    return remaining_seconds if is_last else remaining_seconds / 2


def may_overflow(query_class: QueryClass, instance: Instance) -> bool:
    """Whether a read that another instance shed for its load may be asked of this one.

    Reports that replicas have no room for must not fill the primary, which writes.
    """
    return query_class is not QueryClass.REPORT or instance.role is not Role.PRIMARY


def count_quorum(shard: Shard) -> int:
    """R = N - W + 1 instances: of any so many of the primary and its standbys, one has every committed flush.

    W is how many have a flush for certain when it is committed: only the primary, where commits may go on without the
    replicas that they should wait for.
    """
    copies = 1 + len(shard.standbys)
    if shard.on_standby_loss is StandbyLoss.DEGRADE or shard.durability is Durability.ASYNC:
        return copies
    written = copies if shard.durability is Durability.ALL else min(copies, 1 + shard.quorum)
    return copies - written + 1


def _order(
    instances: list[Instance], *, policy: ReadPolicy, health: Mapping[str, InstanceHealth], turn: int, key: int
) -> list[Instance]:
    """Those of the own zone first, and within each zone as the balancer says."""
    if len(instances) < 2:
        return instances
    loads = {name: believed.load for name, believed in health.items()}
    near = [i for i in instances if i.zone == policy.zone]
    far = [i for i in instances if i.zone != policy.zone]
    return [
        *order_instances(near, balancer=policy.balancer, loads=loads, turn=turn, key=key),
        *order_instances(far, balancer=policy.balancer, loads=loads, turn=turn, key=key),
    ]


def _is_fresh(health: InstanceHealth, policy: ReadPolicy) -> bool:
    """A replica not measured yet counts as fresh: a new process would otherwise send every read to the primary."""
    if health.reachable is None:
        return True
    return health.lag_seconds is not None and health.lag_seconds <= policy.replica_max_lag_seconds

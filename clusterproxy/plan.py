"""Which instances to try, and in what order. Pure: the same arguments always give the same plan.

A plan names every instance that may answer, best first. Instances that look bad stay on it, last: their measurements
may be old, and a wrong one must not refuse a read that an instance could have answered. Only an instance that an
operator has drained is not tried at all.
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
    """Any instance: its rows may be a little old."""
    STRONG = "strong"
    """The primary only: its rows include every commit."""
    QUORUM = "quorum"
    """The furthest of as many instances as it takes for one of them to have every acknowledged write."""


class Reason(StrEnum):
    """Why an instance has its place on a plan."""

    STRONG = "strong"
    """The primary, for a read that only the primary may answer."""
    NEAR_REPLICA = "near_replica"
    """A fresh replica in the zone of this process."""
    FAR_REPLICA = "far_replica"
    """A fresh replica in another zone."""
    PRIMARY = "primary"
    """The primary, because no fresh replica answers."""
    LATE_REPLICA = "late_replica"
    """A replica behind the limit, because no fresher instance answers."""
    DOUBTFUL = "doubtful"
    """An instance that looked dead, because no other one answers."""
    FURTHEST = "furthest"
    """The furthest of the instances of a quorum."""


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """The state of an instance as this process has measured it.

    `reachable` is None before the first measurement. `lag_seconds` is None when it is unknown. `accepting` is False
    while the breaker of the instance is open.
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
    """`candidates` in the order to try them."""

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
    """How a process chooses: its own zone first, replicas within the lag limit, equal ones by the balancer."""

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

    `turn` grows with each read and `key` names the partition: the balancer orders by one or the other.
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
        measured = health.get(instance.name, UNMEASURED)
        if not measured.usable:
            doubtful.append(instance)
        elif instance.role is Role.PRIMARY:
            living_primary = (Candidate(instance, Reason.PRIMARY),)
        elif _is_fresh(measured, policy):
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
    """Partitions by the id of the shard that owns them, ascending; None: all. Raises IndexError for an unknown one."""
    wanted = range(topology.partition_count) if partitions is None else sorted(set(partitions))
    by_shard: dict[int, list[int]] = {}
    for partition in wanted:
        by_shard.setdefault(topology.get_shard_of(partition).id, []).append(partition)
    return by_shard


def plan_attempt(*, remaining_seconds: float, answer_seconds: float, is_last: bool) -> float:
    """How long one candidate may take: what a live server needs, at most half of the time left while others remain."""
    return min(answer_seconds, remaining_seconds if is_last else remaining_seconds / 2)


def plan_wait(*, remaining_seconds: float, is_last: bool) -> float:
    """How long to wait for one instance to be fresh enough: half of the time left while others remain to be tried."""
    return remaining_seconds if is_last else remaining_seconds / 2


def may_overflow(query_class: QueryClass, instance: Instance) -> bool:
    """Whether a read that another instance shed for its load may go to this one.

    Reports that replicas have shed must not fill the primary, which also writes.
    """
    return query_class is not QueryClass.REPORT or instance.role is not Role.PRIMARY


def count_quorum(shard: Shard) -> int:
    """R = N - W + 1: in any R of the primary and its standbys, one has every committed flush.

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
    """Instances of the own zone first, and within a zone in the order of the balancer."""
    if len(instances) < 2:
        return instances
    loads = {name: measured.load for name, measured in health.items()}
    near = [i for i in instances if i.zone == policy.zone]
    far = [i for i in instances if i.zone != policy.zone]
    return [
        *order_instances(near, balancer=policy.balancer, loads=loads, turn=turn, key=key),
        *order_instances(far, balancer=policy.balancer, loads=loads, turn=turn, key=key),
    ]


def _is_fresh(health: InstanceHealth, policy: ReadPolicy) -> bool:
    """An unmeasured replica counts as fresh: a new process would otherwise send every read to the primary."""
    if health.reachable is None:
        return True
    return health.lag_seconds is not None and health.lag_seconds <= policy.replica_max_lag_seconds

"""Which pull process drains which partitions, and what a process has to change on a shard. Pure.

All partitions, ordered by shard and number, are cut into as many ranges of equal length as processes live: so shares
differ by one partition at most, and shards stay whole where they can, which makes flushes large. Every shard decides
its own partitions from its own rows alone. While two processes see different topologies, a partition may have no taker
or two; neither loses or doubles an event. A process gives away what its topology does not give it, and `ownerless`
partitions are claimed by any process after a while.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from configservice.topology.model import Topology
from viewcounter.storage.leases import LeaseView, OwnedPartition
from viewcounter.storage.partitions import INCOMING, OWNED


def assign_takers(topology: Topology, shard_id: int, workers: Sequence[str]) -> dict[int, str]:
    """The process that takes each partition of the shard, of the processes that live there, in their order."""
    places = sorted((assignment.shard_id, p) for p, assignment in enumerate(topology.assignments))
    return {
        partition: workers[find_range(place, length=len(places), ranges=len(workers))]
        for place, (of_shard, partition) in enumerate(places)
        if of_shard == shard_id
    }


def find_range(place: int, *, length: int, ranges: int) -> int:
    """The number of the range that contains `place`, where range i is [i * length // ranges, (i + 1) * length //
    ranges)."""
    return ((place + 1) * ranges - 1) // length


@dataclass(frozen=True, slots=True)
class OwnershipPlan:
    """Changes that one process makes on a shard; numbers are partitions, and epochs are those of the topology.

    `keeps`: its partitions that it drains. `hand_overs`: its partitions by their new owner, None: nobody. `ownerless`:
    partitions of others without a living owner. `is_topology_old`: the shard has a row of a later epoch.
    """

    keeps: dict[int, OwnedPartition] = field(default_factory=dict)
    claims: dict[int, int] = field(default_factory=dict)
    arrivals: dict[int, int] = field(default_factory=dict)
    hand_overs: dict[int, str | None] = field(default_factory=dict)
    ownerless: frozenset[int] = frozenset()
    is_topology_old: bool = False


def plan_ownership(
    view: LeaseView, topology: Topology, *, shard_id: int, worker: str, overdue: Collection[int] = ()
) -> OwnershipPlan:
    """`overdue`: partitions that their taker has not claimed for long; the process claims and keeps them."""
    takers = assign_takers(topology, shard_id, view.workers)
    keeps, claims, arrivals = {}, {}, {}
    hand_overs: dict[int, str | None] = {}
    ownerless = set()
    is_topology_old = False
    for row in view.partitions:
        taker = takers.get(row.partition)
        epoch = topology.assignments[row.partition].epoch if row.partition < topology.partition_count else 0
        if row.state == INCOMING:
            if taker == worker and row.epoch == epoch:
                arrivals[row.partition] = epoch
        elif taker is None or row.epoch != epoch:
            is_topology_old |= row.epoch > epoch
            if row.owner == worker:
                hand_overs[row.partition] = None
        elif row.owner == worker:
            if taker != worker and row.partition not in overdue:
                hand_overs[row.partition] = taker
            elif row.state == OWNED:
                keeps[row.partition] = row
        elif row.owner not in view.workers:
            if taker == worker or row.partition in overdue:
                claims[row.partition] = epoch
            else:
                ownerless.add(row.partition)
    return OwnershipPlan(keeps, claims, arrivals, hand_overs, frozenset(ownerless), is_topology_old)

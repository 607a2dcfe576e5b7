from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from configservice.topology.model import Assignment, Shard, Topology
from viewcounter.processing.shares import OwnershipPlan, assign_takers, find_range, plan_ownership
from viewcounter.storage.leases import LeaseView, OwnedPartition

EPOCH = 5
WORKERS = [f"worker{number}" for number in range(6)]
SHARDS = [1, 2, 5]


def make_topology(shard_ids):
    shards = tuple(Shard(id=shard_id, name=f"shard{shard_id}", term=1, instances=()) for shard_id in SHARDS)
    assignments = tuple(Assignment(shard_id=shard_id, epoch=EPOCH) for shard_id in shard_ids)
    return Topology(epoch=1, shards=shards, assignments=assignments, event_types=())


def make_row(partition, owner=None, **fields):
    row = OwnedPartition(partition, owner, EPOCH, "1-1", "owned", watermark_age_seconds=1.0, needs_watermark=False)
    return replace(row, **fields)


topologies = st.lists(st.sampled_from(SHARDS), min_size=1, max_size=40).map(make_topology)
living = st.lists(st.sampled_from(WORKERS), min_size=1, unique=True)


@given(topology=topologies, workers=st.lists(living, min_size=3, max_size=3))
def test_every_partition_has_one_taker_among_the_processes_that_its_own_shard_sees(topology, workers):
    for shard_id, seen in zip(SHARDS, workers, strict=True):
        takers = assign_takers(topology, shard_id, seen)
        assert sorted(takers) == topology.get_partitions_of(shard_id)
        assert set(takers.values()) <= set(seen)


@given(topology=topologies, workers=living)
def test_shares_of_all_shards_differ_by_at_most_one_partition(topology, workers):
    counts = Counter(dict.fromkeys(workers, 0))
    for shard_id in SHARDS:
        counts.update(assign_takers(topology, shard_id, workers).values())
    assert max(counts.values()) - min(counts.values()) <= 1


@given(topology=topologies, workers=living)
def test_shards_are_cut_no_more_often_than_there_are_ends_of_shares(topology, workers):
    parts = sum(len(set(assign_takers(topology, shard_id, workers).values())) for shard_id in SHARDS)
    filled = sum(bool(topology.get_partitions_of(shard_id)) for shard_id in SHARDS)
    assert parts <= filled + len(workers) - 1


def test_equal_shards_stay_whole_where_each_process_can_have_one():
    topology = make_topology([1, 2, 5] * 8)
    for shard_id, worker in zip(SHARDS, WORKERS, strict=False):
        assert set(assign_takers(topology, shard_id, WORKERS[:3]).values()) == {worker}


@given(length=st.integers(1, 60), ranges=st.integers(1, 60))
def test_ranges_are_cut_at_equal_parts_of_the_length(length, ranges):
    for place in range(length):
        number = find_range(place, length=length, ranges=ranges)
        assert number * length // ranges <= place < (number + 1) * length // ranges


owners = st.one_of(st.none(), st.sampled_from(WORKERS), st.just("dead"))


@given(topology=topologies, workers=living, data=st.data())
def test_after_two_rounds_of_all_processes_each_partition_is_drained_by_its_taker(topology, workers, data):
    for shard_id in SHARDS:
        partitions = topology.get_partitions_of(shard_id)
        held = dict(zip(partitions, data.draw(st.tuples(*[owners] * len(partitions))), strict=True))
        for _ in range(2):
            view = LeaseView(tuple(workers), tuple(make_row(p, owner) for p, owner in held.items()))
            plans = {w: plan_ownership(view, topology, shard_id=shard_id, worker=w) for w in workers}
            claimed = [p for plan in plans.values() for p in plan.claims]
            assert len(claimed) == len(set(claimed))
            for worker, plan in plans.items():
                held |= dict.fromkeys(plan.claims, worker) | plan.hand_overs
        assert held == assign_takers(topology, shard_id, workers)


TOPOLOGY = make_topology([1, 1, 1, 1])
MINE, OTHER = WORKERS[:2]


def plan(*rows, worker=MINE, workers=(MINE, OTHER), **parts):
    return plan_ownership(LeaseView(workers, rows), TOPOLOGY, shard_id=1, worker=worker, **parts)


def test_a_partition_of_a_living_process_is_left_to_it_until_it_hands_it_over():
    assert plan(make_row(0, OTHER)) == OwnershipPlan()
    assert plan(make_row(0, OTHER), worker=OTHER).hand_overs == {0: MINE}


def test_partitions_of_the_dead_and_of_nobody_are_claimed_by_their_taker_alone():
    rows = (make_row(0), make_row(1, "dead"), make_row(2), make_row(3, "dead"))
    assert plan(*rows) == OwnershipPlan(claims={0: EPOCH, 1: EPOCH}, ownerless=frozenset({2, 3}))
    assert plan(*rows, overdue={2}).claims == {0: EPOCH, 1: EPOCH, 2: EPOCH}
    adopted = make_row(2, MINE)
    assert plan(adopted, overdue={2}).keeps == {2: adopted}
    assert plan(adopted).hand_overs == {2: OTHER}


def test_a_held_or_stopped_partition_keeps_its_owner_and_is_not_drained():
    for state in ("held", "stopped"):
        assert plan(make_row(0, MINE, state=state), make_row(1, state=state)) == OwnershipPlan(claims={1: EPOCH})


def test_a_partition_that_has_come_by_the_topology_is_accepted_by_its_taker():
    incoming = make_row(0, state="incoming")
    assert plan(incoming).arrivals == {0: EPOCH}
    assert plan(incoming, worker=OTHER) == OwnershipPlan()
    assert plan(replace(incoming, epoch=EPOCH + 1)) == OwnershipPlan()  # the move goes on


def test_a_row_of_another_epoch_is_left_alone_and_a_later_one_shows_an_old_topology():
    assert plan(make_row(0, OTHER, epoch=EPOCH - 1)) == OwnershipPlan()
    assert plan(make_row(0, OTHER, epoch=EPOCH + 1)) == OwnershipPlan(is_topology_old=True)


def test_a_process_gives_up_a_partition_that_its_topology_does_not_give_it():
    assert plan(make_row(0, MINE, epoch=EPOCH - 1)) == OwnershipPlan(hand_overs={0: None})
    assert plan(make_row(0, MINE, epoch=EPOCH + 1)) == OwnershipPlan(hand_overs={0: None}, is_topology_old=True)
    assert plan(make_row(77, MINE)) == OwnershipPlan(hand_overs={77: None}, is_topology_old=True)


def test_a_partition_that_the_topology_does_not_know_is_left_alone():
    assert plan(make_row(77)) == OwnershipPlan(is_topology_old=True)

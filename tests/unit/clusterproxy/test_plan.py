"""Which instance is asked, in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from clusterproxy.plan import (
    Consistency,
    InstanceHealth,
    ReadPolicy,
    Reason,
    count_quorum,
    may_overflow,
    plan_attempt,
    plan_read,
    plan_scatter,
    plan_wait,
    plan_write,
)
from configservice.topology.model import Durability, Role, Shard, StandbyLoss
from shardproxy.query import QueryClass
from tests.unit.clusterproxy.builders import build_instance, build_shard, build_topology

POLICY = ReadPolicy(zone="local", replica_max_lag_seconds=10.0)
FRESH = InstanceHealth(reachable=True, lag_seconds=0.0)
LATE = InstanceHealth(reachable=True, lag_seconds=10.1)
LAG_UNKNOWN = InstanceHealth(reachable=True)
DEAD = InstanceHealth(reachable=False)
LEFT_ALONE = InstanceHealth(reachable=True, lag_seconds=0.0, accepting=False)


def plan_names(shard, health, *, turn=0, consistency=Consistency.EVENTUAL, policy=POLICY):
    topology = build_topology(shard)
    plan = plan_read(topology, shard, consistency=consistency, policy=policy, health=health, turn=turn, key=0)
    return [candidate.instance.name for candidate in plan.candidates]


def test_fresh_replicas_come_first_then_the_primary():
    health = {"shard1a": FRESH, "shard1b": FRESH, "shard1c": FRESH}
    assert plan_names(build_shard(1), health) == ["shard1b", "shard1c", "shard1a"]


def test_turns_go_round_the_replicas():
    assert plan_names(build_shard(1), {}, turn=1) == ["shard1c", "shard1b", "shard1a"]
    assert plan_names(build_shard(1), {}, turn=2) == ["shard1b", "shard1c", "shard1a"]


def test_replicas_of_the_own_zone_come_before_others_whatever_the_turn():
    shard = build_shard(1, replicas=3, zones=("far", "near"))
    policy = ReadPolicy(zone="near", replica_max_lag_seconds=10.0)
    for turn in range(4):
        assert plan_names(shard, {}, turn=turn, policy=policy)[0] == "shard1c"


@pytest.mark.parametrize("health", [LATE, LAG_UNKNOWN])
def test_a_late_replica_comes_after_the_primary(health):
    assert plan_names(build_shard(1), {"shard1b": health}) == ["shard1c", "shard1a", "shard1b"]


def test_lag_of_exactly_the_limit_is_fresh():
    limit = InstanceHealth(reachable=True, lag_seconds=10.0)
    assert plan_names(build_shard(1, replicas=1), {"shard1b": limit}) == ["shard1b", "shard1a"]


@pytest.mark.parametrize("health", [DEAD, LEFT_ALONE])
def test_an_instance_that_looks_dead_is_asked_last(health):
    assert plan_names(build_shard(1), {"shard1b": health}) == ["shard1c", "shard1a", "shard1b"]


def test_a_late_replica_answers_while_the_primary_is_dead():
    health = {"shard1a": DEAD, "shard1b": LATE}
    assert plan_names(build_shard(1, replicas=1), health) == ["shard1b", "shard1a"]


def test_without_measurements_replicas_are_used():
    assert plan_names(build_shard(1), {}) == ["shard1b", "shard1c", "shard1a"]


def test_strong_asks_the_primary_only_even_if_it_looks_dead():
    assert plan_names(build_shard(1), {"shard1a": DEAD}, consistency=Consistency.STRONG) == ["shard1a"]


def test_every_instance_stands_on_the_plan_with_its_reason():
    shard = build_shard(1, replicas=5, zones=("local", "far"))
    health = {"shard1d": LATE, "shard1e": DEAD}
    topology = build_topology(shard)
    plan = plan_read(topology, shard, consistency=Consistency.EVENTUAL, policy=POLICY, health=health, turn=0, key=0)
    assert [(c.instance.name, c.reason) for c in plan.candidates] == [
        ("shard1b", Reason.NEAR_REPLICA),
        ("shard1f", Reason.NEAR_REPLICA),
        ("shard1c", Reason.FAR_REPLICA),
        ("shard1a", Reason.PRIMARY),
        ("shard1d", Reason.LATE_REPLICA),
        ("shard1e", Reason.DOUBTFUL),
    ]
    plan = plan_read(topology, shard, consistency=Consistency.STRONG, policy=POLICY, health={}, turn=0, key=0)
    assert [(c.instance.name, c.reason) for c in plan.candidates] == [("shard1a", Reason.STRONG)]


def drain(shard, *names):
    instances = tuple(structs.replace(i, drained=i.name in names) for i in shard.instances)
    return structs.replace(shard, instances=instances)


def test_a_drained_instance_is_not_read_not_even_as_the_last_one():
    shard = drain(build_shard(1), "shard1b")
    assert plan_names(shard, {}) == ["shard1c", "shard1a"]
    assert plan_names(shard, {"shard1a": DEAD, "shard1c": DEAD}) == ["shard1a", "shard1c"]
    assert plan_names(drain(shard, "shard1a", "shard1b", "shard1c"), {}) == []


def test_a_drained_primary_still_answers_what_only_it_may_answer():
    shard = drain(build_shard(1), "shard1a")
    assert plan_names(shard, {}) == ["shard1b", "shard1c"]
    assert plan_names(shard, {}, consistency=Consistency.STRONG) == ["shard1a"]


@pytest.mark.parametrize(
    ("durability", "quorum", "on_standby_loss", "expected"),
    [
        (Durability.ASYNC, 1, StandbyLoss.BLOCK, 4),
        (Durability.QUORUM, 1, StandbyLoss.BLOCK, 3),
        (Durability.QUORUM, 2, StandbyLoss.BLOCK, 2),
        (Durability.QUORUM, 3, StandbyLoss.BLOCK, 1),
        (Durability.QUORUM, 9, StandbyLoss.BLOCK, 1),
        (Durability.ALL, 1, StandbyLoss.BLOCK, 1),
        # Commits that went on without replicas are on the primary for certain, and nowhere else.
        (Durability.QUORUM, 2, StandbyLoss.DEGRADE, 4),
        (Durability.ALL, 1, StandbyLoss.DEGRADE, 4),
    ],
)
def test_a_quorum_is_so_many_that_one_of_them_has_every_flush(durability, quorum, on_standby_loss, expected):
    shard = build_shard(1, replicas=3)
    shard = structs.replace(shard, durability=durability, quorum=quorum, on_standby_loss=on_standby_loss)
    assert count_quorum(shard) == expected


def test_no_commit_waits_for_a_drained_replica_and_no_quorum_asks_it():
    shard = structs.replace(build_shard(1), durability=Durability.QUORUM, on_standby_loss=StandbyLoss.BLOCK)
    assert count_quorum(shard) == 2
    assert count_quorum(drain(shard, "shard1c")) == 1


@pytest.mark.parametrize("query_class", QueryClass)
def test_only_reports_that_replicas_shed_are_kept_from_the_primary(query_class):
    primary, replica, _ = build_shard(1).instances
    assert may_overflow(query_class, replica)
    assert may_overflow(query_class, primary) is (query_class is not QueryClass.REPORT)


def test_a_wait_leaves_half_of_the_time_for_the_next_candidate():
    assert plan_wait(remaining_seconds=2.0, is_last=False) == 1.0
    assert plan_wait(remaining_seconds=2.0, is_last=True) == 2.0


def test_a_shard_without_primary_is_read_from_replicas_and_not_written():
    shard = Shard(id=1, name="shard1", term=2, instances=(build_instance("shard1b", Role.REPLICA),))
    topology = build_topology(shard)
    assert plan_names(shard, {}) == ["shard1b"]
    assert plan_names(shard, {}, consistency=Consistency.STRONG) == []
    assert plan_write(topology, shard).primary is None


healths = st.builds(
    InstanceHealth,
    reachable=st.sampled_from([None, True, False]),
    lag_seconds=st.one_of(st.none(), st.floats(0, 100)),
    accepting=st.booleans(),
)
shards = st.builds(
    lambda replicas, zones: build_shard(1, replicas=replicas, zones=tuple(zones)),
    st.integers(0, 5),
    st.lists(st.sampled_from(["local", "near", "far"]), min_size=1, max_size=3),
)


@given(shards, st.dictionaries(st.sampled_from([f"shard1{c}" for c in "abcdef"]), healths), st.integers(0, 1000))
def test_every_plan_names_every_instance_exactly_once(shard, health, turn):
    names = plan_names(shard, health, turn=turn)
    assert sorted(names) == sorted(i.name for i in shard.instances)
    assert names == plan_names(shard, health, turn=turn)


@given(shards, st.dictionaries(st.sampled_from([f"shard1{c}" for c in "abcdef"]), healths), st.integers(0, 1000))
def test_strong_never_asks_a_replica(shard, health, turn):
    assert plan_names(shard, health, turn=turn, consistency=Consistency.STRONG) == ["shard1a"]


@given(shards, st.dictionaries(st.sampled_from([f"shard1{c}" for c in "abcdef"]), healths), st.integers(0, 1000))
def test_nobody_who_looks_dead_is_asked_before_one_who_does_not(shard, health, turn):
    usable = [health.get(name, InstanceHealth()).usable for name in plan_names(shard, health, turn=turn)]
    assert usable == sorted(usable, reverse=True)


@given(st.integers(1, 5), st.integers(1, 64), st.one_of(st.none(), st.sets(st.integers(0, 63))))
def test_a_scatter_asks_for_each_wanted_partition_exactly_once(shard_count, partition_count, wanted):
    topology = build_topology(*(build_shard(n) for n in range(1, shard_count + 1)), partitions=partition_count)
    if wanted is not None:
        wanted = {p for p in wanted if p < partition_count}
    plan = plan_scatter(topology, wanted)
    expected = sorted(range(partition_count) if wanted is None else wanted)
    assert sorted(p for owned in plan.values() for p in owned) == expected
    assert all(topology.assignments[p].shard_id == shard_id for shard_id, owned in plan.items() for p in owned)


@pytest.mark.parametrize("partition", [-1, 8])
def test_an_unknown_partition_is_refused(partition):
    with pytest.raises(IndexError):
        plan_scatter(build_topology(), [partition])


@pytest.mark.parametrize(
    ("remaining_seconds", "is_last", "expected"),
    [(10.0, False, 1.25), (10.0, True, 1.25), (1.0, False, 0.5), (1.0, True, 1.0)],
)
def test_an_attempt_leaves_time_for_the_next_candidate(remaining_seconds, is_last, expected):
    assert plan_attempt(remaining_seconds=remaining_seconds, answer_seconds=1.25, is_last=is_last) == expected

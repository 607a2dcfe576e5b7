"""Which instance is asked, in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproxy.plan import (
    Consistency,
    InstanceHealth,
    ReadPolicy,
    plan_attempt,
    plan_read,
    plan_scatter,
    plan_write,
)
from configservice.topology import Role, Shard
from tests.unit.clusterproxy.builders import build_instance, build_shard, build_topology

POLICY = ReadPolicy(zone="local", replica_max_lag_seconds=10.0)
FRESH = InstanceHealth(reachable=True, lag_seconds=0.0)
LATE = InstanceHealth(reachable=True, lag_seconds=10.1)
LAG_UNKNOWN = InstanceHealth(reachable=True)
DEAD = InstanceHealth(reachable=False)
LEFT_ALONE = InstanceHealth(reachable=True, lag_seconds=0.0, accepting=False)


def plan_names(shard, health, *, turn=0, consistency=Consistency.EVENTUAL, policy=POLICY):
    topology = build_topology(shard)
    plan = plan_read(topology, shard, consistency=consistency, policy=policy, health=health, turn=turn)
    return [i.name for i in plan.candidates]


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

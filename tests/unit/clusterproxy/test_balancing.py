"""Which of several equally good instances is asked first."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproxy.balancing import Balancer, InstanceLoad, order_instances
from clusterproxy.plan import Consistency, InstanceHealth, ReadPolicy, plan_read
from configservice.topology.model import Role
from tests.unit.clusterproxy.builders import build_instance, build_shard, build_topology

NAMES = ("b", "c", "d")
MEASURED = {"b": InstanceLoad(0, 0.3), "c": InstanceLoad(0, 0.1), "d": InstanceLoad(0, 0.2)}
REPLICAS = [build_instance(name, Role.REPLICA) for name in NAMES]


def order(balancer, loads=None, *, turn=0, key=0, instances=REPLICAS):
    ordered = order_instances(instances, balancer=balancer, loads=loads or {}, turn=turn, key=key)
    return [instance.name for instance in ordered]


@pytest.mark.parametrize(
    ("balancer", "turn", "loads", "expected"),
    [
        (Balancer.ROUND_ROBIN, 0, {}, "bcd"),
        (Balancer.ROUND_ROBIN, 1, {}, "cdb"),
        (Balancer.ROUND_ROBIN, 5, {"b": InstanceLoad(in_flight=9)}, "dbc"),
        (Balancer.LEAST_CONNECTIONS, 0, {}, "bcd"),
        (Balancer.LEAST_CONNECTIONS, 0, {"b": InstanceLoad(2), "c": InstanceLoad(1)}, "dcb"),
        (Balancer.LEAST_CONNECTIONS, 1, {"b": InstanceLoad(1), "c": InstanceLoad(1), "d": InstanceLoad(1)}, "cdb"),
        (Balancer.LEAST_CONNECTIONS, 0, {"d": InstanceLoad(3, 0.001), "b": InstanceLoad(4, 0.0)}, "cdb"),
        # The fastest first; busy ones answer later by as many reads as they have under way.
        (Balancer.LEAST_RESPONSE_TIME, 0, MEASURED, "cdb"),
        (Balancer.LEAST_RESPONSE_TIME, 0, {"b": InstanceLoad(0, 0.3), "c": InstanceLoad(3, 0.1)}, "dbc"),
        # One that nobody has measured lately is tried, but not by everybody at once.
        (Balancer.LEAST_RESPONSE_TIME, 0, {"b": InstanceLoad(0, 0.001), "c": InstanceLoad(0, 0.001)}, "dbc"),
        (Balancer.LEAST_RESPONSE_TIME, 0, {"b": InstanceLoad(0, 0.001), "d": InstanceLoad(9, 0.0)}, "cbd"),
    ],
)
def test_order(balancer, turn, loads, expected):
    assert "".join(order(balancer, loads, turn=turn)) == expected


@pytest.mark.parametrize("balancer", [Balancer.ROUND_ROBIN, Balancer.LEAST_CONNECTIONS, Balancer.LEAST_RESPONSE_TIME])
def test_idle_instances_are_asked_exactly_alike(balancer):
    firsts = Counter(order(balancer, turn=turn)[0] for turn in range(300))
    assert firsts == {"b": 100, "c": 100, "d": 100}


def test_reads_under_way_are_spread_evenly_by_least_connections():
    in_flight = Counter()
    for turn in range(300):
        loads = {name: InstanceLoad(count) for name, count in in_flight.items()}
        in_flight[order(Balancer.LEAST_CONNECTIONS, loads, turn=turn)[0]] += 1
    assert in_flight == {"b": 100, "c": 100, "d": 100}


def test_an_instance_twice_as_slow_gets_half_as_many_reads_by_least_response_time():
    seconds = {"b": 0.002, "c": 0.001, "d": 0.001}
    in_flight = Counter()
    for turn in range(500):
        loads = {name: InstanceLoad(in_flight[name], seconds[name]) for name in NAMES}
        in_flight[order(Balancer.LEAST_RESPONSE_TIME, loads, turn=turn)[0]] += 1
    assert in_flight == {"b": 100, "c": 200, "d": 200}


def test_the_hash_asks_one_instance_for_one_key_and_spreads_keys():
    firsts = Counter()
    for key in range(3000):
        ordered = order(Balancer.HASH, key=key)
        assert order(Balancer.HASH, key=key, turn=key, instances=REPLICAS[::-1]) == ordered
        firsts[ordered[0]] += 1
    assert all(900 <= firsts[name] <= 1100 for name in NAMES)


def test_the_hash_moves_only_the_keys_of_an_instance_that_is_gone():
    for key in range(500):
        before = order(Balancer.HASH, key=key)
        after = order(Balancer.HASH, key=key, instances=[i for i in REPLICAS if i.name != "c"])
        assert after == [name for name in before if name != "c"]


healths = st.builds(
    InstanceHealth,
    reachable=st.sampled_from([None, True, False]),
    lag_seconds=st.one_of(st.none(), st.floats(0, 100)),
    accepting=st.booleans(),
    load=st.builds(InstanceLoad, in_flight=st.integers(0, 100), response_seconds=st.floats(0, 10)),
)


@given(
    st.sampled_from(list(Balancer)),
    st.integers(0, 5),
    st.dictionaries(st.sampled_from([f"shard1{c}" for c in "abcdef"]), healths),
    st.integers(0, 1000),
    st.integers(0, 1000),
)
def test_no_balancer_asks_an_unusable_instance_while_a_usable_one_is_there(balancer, replicas, health, turn, key):
    shard = build_shard(1, replicas=replicas, zones=("local", "far"))
    plan = plan_read(
        build_topology(shard),
        shard,
        consistency=Consistency.EVENTUAL,
        policy=ReadPolicy(zone="local", replica_max_lag_seconds=10.0, balancer=balancer),
        health=health,
        turn=turn,
        key=key,
    )
    usable = [health.get(c.instance.name, InstanceHealth()).usable for c in plan.candidates]
    assert usable == sorted(usable, reverse=True)
    assert sorted(c.instance.name for c in plan.candidates) == sorted(i.name for i in shard.instances)

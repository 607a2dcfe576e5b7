"""When an answer is new enough."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproxy.freshness import (
    FreshnessLag,
    FreshnessRequirement,
    Progress,
    ProgressProbe,
    find_lag,
    measure_distance,
    raise_requirement,
)
from shardproxy.query import Query, QueryClass

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)
PROBE = ProgressProbe(Query("states", "SELECT 1", QueryClass.POINT), parse=dict)


def at(ms, seq=0, *, age=0.0):
    return Progress((ms, seq), NOW - timedelta(seconds=age))


def find(progress, *, partitions=(3,), positions=None, staleness=None):
    demand = FreshnessRequirement(PROBE, min_positions=positions or {}, max_staleness_seconds=staleness)
    return find_lag(demand, progress, partitions=partitions, now=NOW)


@pytest.mark.parametrize(
    ("reached", "wanted", "is_met"),
    [
        ((100, 0), (100, 0), True),
        ((100, 1), (100, 0), True),
        ((101, 0), (100, 9), True),
        ((100, 0), (100, 1), False),
        ((99, 99), (100, 0), False),
        # As numbers, not as text.
        ((1000, 0), (999, 0), True),
        ((5, 10), (5, 9), True),
    ],
)
def test_positions_compare_as_the_log_orders_them(reached, wanted, is_met):
    progress = Progress(reached, NOW)
    expected = None if is_met else FreshnessLag(3, progress, wanted)
    assert find({3: progress}, positions={3: wanted}) == expected


@pytest.mark.parametrize(("age", "is_met"), [(0.0, True), (5.0, True), (5.001, False)])
def test_staleness_is_the_age_of_what_is_complete(age, is_met):
    expected = None if is_met else FreshnessLag(3, at(1, age=age), None)
    assert find({3: at(1, age=age)}, staleness=5.0) == expected


def test_each_partition_has_to_be_far_enough():
    progress = {3: at(10), 4: at(20), 5: at(30)}
    partitions = (3, 4, 5)
    assert find(progress, partitions=partitions, positions={3: (10, 0), 5: (30, 0)}) is None
    assert find(progress, partitions=partitions, positions={3: (10, 0), 5: (31, 0)}) == FreshnessLag(5, at(30), (31, 0))


def test_partitions_that_are_not_read_or_not_here_do_not_matter():
    assert find({3: at(10)}, positions={4: (99, 0)}) is None
    assert find({}, positions={3: (99, 0)}, staleness=1.0) is None


def test_a_raised_demand_asks_for_the_highest_that_anybody_has_seen():
    demand = FreshnessRequirement(PROBE, min_positions={3: (15, 0), 7: (1, 0)}, max_staleness_seconds=2.0)
    raised = raise_requirement(demand, [{3: at(10), 4: at(20)}, {3: at(12), 4: at(19, 9)}])
    assert raised == FreshnessRequirement(
        PROBE, min_positions={3: (15, 0), 4: (20, 0), 7: (1, 0)}, max_staleness_seconds=2.0
    )


positions = st.tuples(st.integers(0, 5), st.integers(0, 2))


@given(st.lists(st.dictionaries(st.integers(0, 2), positions, min_size=3), min_size=1, max_size=4))
def test_whoever_meets_a_raised_demand_is_as_far_as_each_of_them(copies):
    seen = [{p: Progress(position, NOW) for p, position in copy.items()} for copy in copies]
    raised = raise_requirement(FreshnessRequirement(PROBE), seen)
    for candidate in seen:
        is_furthest = all(candidate[p].position >= other[p].position for other in seen for p in range(3))
        missing = find_lag(raised, candidate, partitions=range(3), now=NOW)
        assert (missing is None) is is_furthest


@given(st.lists(st.integers(0, 2), max_size=8), st.integers(0, 8))
def test_of_two_copies_of_one_wal_the_one_that_has_replayed_more_is_measured_further(writes, replayed):
    """Each write moves one partition on; a copy has replayed the first so many of them."""

    def replay(count):
        applied = writes[:count]
        return {p: at(applied.count(p)) for p in range(3)}

    some, every = replay(replayed), replay(len(writes))
    distances = [measure_distance(copy, partitions=(0, 1, 2)) for copy in (some, every)]
    assert distances[0] <= distances[1]
    assert (distances[0] == distances[1]) is (some == every)

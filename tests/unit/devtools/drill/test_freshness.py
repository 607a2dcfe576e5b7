from devtools.drill.freshness import FreshnessSample, LogEnds, find_median_age, find_worst_age
from viewcounter.eventlog.interface import Position


def test_an_event_is_as_old_as_the_first_look_at_it_until_its_position_is_reached():
    ends = LogEnds()
    for at, ms in ((1.0, 10), (2.0, 10), (3.0, 20), (4.0, 30)):
        ends.add(7, Position(ms, 0), at)
    assert ends.compute_age(7, Position(9, 0), 5.0) == 4.0
    assert ends.compute_age(7, Position(15, 0), 6.0) == 3.0
    assert ends.compute_age(7, Position(30, 0), 7.0) == 0.0
    assert ends.compute_age(8, Position(0, 0), 7.0) == 0.0


SAMPLES = [
    FreshnessSample(1.0, "shard1", {1: 0.1, 2: 0.4}),
    FreshnessSample(2.0, "shard1", {1: 0.2, 2: 9.0}),
    FreshnessSample(3.0, "shard1", {1: 0.3, 2: 0.0}),
]


def test_the_worst_age_is_that_of_any_partition_but_those_left_out():
    assert find_worst_age(SAMPLES) == 9.0
    assert find_worst_age(SAMPLES, without=[2]) == 0.3
    assert find_worst_age([]) is None


def test_the_median_age_is_that_of_the_oldest_partition_over_time():
    assert find_median_age(SAMPLES) == 0.4
    assert find_median_age([]) is None

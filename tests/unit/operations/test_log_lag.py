from viewcounter.eventlog.interface import START, Position
from viewcounter.operations.log_lag import compute_log_lag


def test_lag_is_the_time_between_the_last_entry_and_the_last_one_applied():
    lag = compute_log_lag(
        {0: Position(5_000, 0), 1: Position(9_000, 3), 2: Position(7_000, 0), 3: Position(8_000, 0)},
        {0: Position(5_000, 0), 1: Position(6_500, 0), 2: START, 3: Position(7_000, 0)},
        missing_shards=(2,),
    )
    assert (lag.partitions, lag.unread_partitions) == (4, 3)
    assert (lag.lag_seconds_sum, lag.lag_seconds_max) == (3.5, 2.5)
    assert lag.missing_shards == (2,)


def test_a_log_that_ends_before_the_position_has_no_lag():
    lag = compute_log_lag({}, {0: Position(5_000, 0)}, missing_shards=())
    assert (lag.unread_partitions, lag.lag_seconds_sum, lag.lag_seconds_max) == (0, 0, 0)

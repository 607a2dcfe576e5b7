"""Rollups on a real shard: whatever dies, runs twice or beside itself, hours and days equal the minutes."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.integration.processing.faults import FaultyCluster, Killed
from tests.integration.processing.rolling import PARTITION, Event, Rolling
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.maintenance.rollup import find_partitions_to_roll
from viewcounter.processing.errors import PartitionNotOwned, StaleTopology
from viewcounter.storage import rollup
from viewcounter.storage.audit import FOREVER, VideoRange, find_rollup_differences, get_edges
from viewcounter.storage.recount import Author, Repair, RepairScope, apply_repair

DAY = datetime(2026, 1, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON_AFTER = DAY + 36 * HOUR

_BELOW = """
    SELECT video_id, event_type_id, date_bin(%(width)s::interval, start, '2000-01-01 00:00:00+00') AS start,
        sum(count)::bigint AS count, sum(sum)::bigint AS sum, min(min) AS min, max(max) AS max
    FROM event_minute
    WHERE date_bin(%(width)s::interval, start, '2000-01-01 00:00:00+00') + %(width)s::interval <= %(rolled_through)s
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@pytest.fixture
def rolling(clean_cluster, shard_connection):
    return Rolling(clean_cluster, shard_connection)


@pytest.fixture
def second_connection(shard_connection):
    with psycopg.connect(
        shard_connection.info.dsn, password=shard_connection.info.password, autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


def make_events(*minutes, video_id="a", value=1000):
    return [Event(video_id, 1, DAY + timedelta(minutes=m), value) for m in minutes]


MINUTES = (0, 1, 59, 60, 61, 300, 1439, 1440, 1500, 2100, 2159)


def read(connection, table):
    rows = connection.execute(
        f"SELECT video_id, event_type_id, start, count, sum, min, max FROM {table} ORDER BY 1, 2, 3"  # noqa: S608
    ).fetchall()
    return [tuple(row.values()) for row in rows]


def read_expected(rolling, unit):
    parameters = {
        "width": {"quarter": HOUR / 4, "hour": HOUR, "day": 24 * HOUR}[unit],
        "rolled_through": rolling.get_state()["rolled_through"],
    }
    return [tuple(row.values()) for row in rolling.connection.execute(_BELOW, parameters).fetchall()]


def read_quarters(connection):
    """What the rows of days say of each of their quarter hours: count, sum, min and max, by its place in the day."""
    quarters = []
    for row in connection.execute("SELECT * FROM event_day ORDER BY video_id, event_type_id, start").fetchall():
        assert (row["resolution"], row["sums"] is None) == (15, row["min"] == row["max"])
        counts = [b - a for a, b in pairwise([0, *row["counts"]])]
        sums = [b - a for a, b in pairwise([0, *row["sums"]])] if row["sums"] else [n * row["min"] for n in counts]
        least, most = row["mins"] or [row["min"]] * len(counts), row["maxs"] or [row["max"]] * len(counts)
        for slot, *figures in zip(row["slots"], counts, sums, least, most, strict=True):
            start = row["start"] + slot * timedelta(minutes=15)
            quarters.append((row["video_id"], row["event_type_id"], start, *figures))
    return quarters


def assert_rolled(rolling, *, through):
    assert rolling.get_state()["rolled_through"] == through
    assert read(rolling.connection, "event_hour") == read_expected(rolling, "hour")
    assert read(rolling.connection, "event_day") == read_expected(rolling, "day")
    days = {row[2] for row in read(rolling.connection, "event_day")}
    quarters = [row for row in read_expected(rolling, "quarter") if row[2].replace(hour=0, minute=0) in days]
    assert read_quarters(rolling.connection) == quarters
    assert rolling.connection.execute("SELECT * FROM rollup_dirty").fetchall() == []


def test_hours_and_days_equal_the_minutes_below_them(rolling):
    rolling.flush(make_events(*MINUTES) + make_events(61, video_id="b", value=7), watermark=NOON_AFTER)
    report = rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER - HOUR)
    assert (report.hour_count, report.day_count, report.is_complete) == (6, 1, True)
    assert read(rolling.connection, "event_day") == [
        ("a", 1, DAY, 7, 7000, 1000, 1000),
        ("b", 1, DAY, 1, 7, 7, 7),
    ]


def test_a_day_of_different_values_has_the_values_of_each_quarter(rolling):
    events = [event for n, value in enumerate((5, 0, 10**9, 7)) for event in make_events(n * 10, 1439, value=value)]
    rolling.flush(events, watermark=NOON_AFTER)
    rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER - HOUR)
    [row] = rolling.connection.execute("SELECT slots, counts, sums, mins, maxs FROM event_day").fetchall()
    assert tuple(row.values()) == (
        [0, 1, 2, 95],
        [2, 3, 4, 8],
        [5, 10**9 + 5, 10**9 + 12, 2 * 10**9 + 24],
        [0, 10**9, 7, 0],
        [5, 10**9, 7, 10**9],
    )


def test_a_wrong_quarter_of_a_right_day_is_found_and_made_again(rolling):
    rolling.flush(make_events(0, 20, 1439) + make_events(40, value=7), watermark=NOON_AFTER)
    rolling.roll()
    rolling.connection.execute("UPDATE event_day SET counts[2] = counts[2] - 1, mins[4] = 3")
    edges = get_edges(rolling.connection, PARTITION, future_seconds=0)
    days = {"start": DAY, "end": DAY + 24 * HOUR, "raw_from": FOREVER, "future_seconds": 0, "limit": 9}
    found = find_rollup_differences(rolling.connection, VideoRange(PARTITION), edges, **days)
    assert found.counts == {"quarter": 3}
    quarters = [DAY + slot * HOUR / 4 for slot in (1, 2, 95)]
    assert [(d.tier, d.start, d.event_count) for d in found.rows] == [
        ("quarter", start, drift) for start, drift in zip(quarters, (-1, 1, 0), strict=True)
    ]
    repair, author = Repair(PARTITION, "a", RepairScope.DAY, DAY), Author(UUID(int=1), "ada")
    with rolling.connection.transaction():
        corrected = apply_repair(rolling.connection, repair, epoch=1, author=author, future_seconds=0)
    assert corrected == list(found.rows)
    rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER - HOUR)


def test_days_of_an_earlier_release_get_their_quarters_when_the_next_day_is_rolled(rolling):
    rolling.flush(make_events(*MINUTES), watermark=NOON_AFTER)
    rolling.roll()
    rolling.connection.execute("DELETE FROM event_day")
    columns = "partition, video_id, event_type_id, start, count, sum, min, max"
    rolling.connection.execute(  # as that release does
        f"INSERT INTO event_day ({columns}) SELECT {PARTITION}, video_id, event_type_id, %s, sum(count), sum(sum),"  # noqa: S608
        " min(min), max(max) FROM event_hour WHERE start < %s GROUP BY video_id, event_type_id",
        [DAY, DAY + 24 * HOUR],
    )
    rolling.flush([], watermark=NOON_AFTER + 24 * HOUR)
    rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER + 23 * HOUR)


def test_the_hour_that_the_watermark_has_not_passed_by_the_grace_stays_open(rolling):
    rolling.flush(make_events(*MINUTES), watermark=DAY + timedelta(minutes=64, seconds=59))
    rolling.roll()
    assert rolling.get_state()["rolled_through"] == DAY
    rolling.flush([], watermark=DAY + timedelta(minutes=65))
    rolling.roll()
    assert_rolled(rolling, through=DAY + HOUR)


def test_years_without_events_take_a_step_or_two(rolling):
    years_ago = DAY - timedelta(days=3650)
    rolling.flush([], watermark=years_ago)
    assert rolling.roll(transactions=2).is_complete
    assert_rolled(rolling, through=years_ago - HOUR)
    rolling.flush([Event("a", 1, DAY, 5)], watermark=DAY + 2 * HOUR)
    report = rolling.roll(transactions=5)
    assert (report.is_complete, report.hour_count) == (True, 1)
    assert_rolled(rolling, through=DAY + HOUR)


def test_late_events_are_rolled_again_in_their_hour_and_then_in_their_day(rolling):
    rolling.flush(make_events(*MINUTES), watermark=NOON_AFTER)
    rolling.roll()
    rolling.flush(make_events(5, 120, 1450, video_id="late") + make_events(0), watermark=NOON_AFTER)
    assert len(rolling.connection.execute("SELECT * FROM rollup_dirty").fetchall()) == 4 + 2
    report = rolling.roll()
    assert (report.dirty_hour_count, report.dirty_day_count, report.hour_count) == (4, 2, 0)
    assert_rolled(rolling, through=NOON_AFTER - HOUR)


def test_an_hour_still_dirty_when_its_day_is_closed_leaves_the_day_dirty(rolling):
    rolling.flush(make_events(0, 60), watermark=DAY + 5 * HOUR)
    rolling.roll()
    rolling.flush(make_events(1), watermark=NOON_AFTER)
    rolling.roll(transactions=1)
    state = rolling.get_state()
    assert state["rolled_through"] == DAY + 24 * HOUR
    marks = rolling.connection.execute("SELECT tier, start FROM rollup_dirty ORDER BY tier").fetchall()
    assert [tuple(mark.values()) for mark in marks] == [("day", DAY), ("hour", DAY)]
    rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER - HOUR)


def test_rolling_twice_and_beside_itself_changes_nothing(rolling):
    rolling.flush(make_events(*MINUTES), watermark=NOON_AFTER)
    threads = [threading.Thread(target=rolling.roll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=limit(30))
    rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER - HOUR)
    rolling.connection.execute("UPDATE partition_state SET rolled_through = %s WHERE partition = %s", [DAY, PARTITION])
    rolling.roll()
    assert_rolled(rolling, through=NOON_AFTER - HOUR)


def test_a_crash_at_any_step_is_made_good_by_the_next_rollup(rolling):
    """Before a statement, before a COMMIT or after it; a late event arrives after that.

    Every second step will do: each transaction has at least four, and all but the last leave nothing behind.
    """
    rolling.cluster = FaultyCluster(rolling.cluster)
    crashed, crash_at = True, 1
    while crashed:
        rolling.clear()
        rolling.flush(make_events(0, 1), watermark=DAY + 2 * HOUR)
        rolling.roll()
        rolling.flush(make_events(5, 300, 1439, 1440), watermark=NOON_AFTER)
        rolling.cluster.arm(crash_at)
        try:
            rolling.roll()
        except Killed:
            crash_at += 2
        else:
            crashed = False
        rolling.cluster.arm(None)
        rolling.flush(make_events(2, 310, 1441), watermark=NOON_AFTER)
        rolling.roll()
        assert_rolled(rolling, through=NOON_AFTER - HOUR)
    assert crash_at == 71


def test_a_late_event_flushed_while_an_hour_is_being_rolled_waits_and_leaves_a_mark(rolling, second_connection):
    rolling.flush(make_events(0), watermark=DAY + 2 * HOUR)
    flushed = threading.Event()

    def flush_late():
        with second_connection.transaction():
            rolling.write(second_connection, make_events(1), watermark=DAY + 2 * HOUR)
        flushed.set()

    thread = threading.Thread(target=flush_late)
    with rolling.connection.transaction():
        rollup.lock_rollup(rolling.connection, PARTITION)
        rollup.apply_step(rolling.connection, PARTITION, rollup.RollupStep(DAY, None, DAY + HOUR))
        thread.start()
        await_lock_wait(rolling.connection)
        assert not flushed.is_set()
    thread.join(timeout=limit(10))
    assert flushed.is_set()
    assert len(rolling.connection.execute("SELECT * FROM rollup_dirty").fetchall()) == 1
    rolling.roll()
    assert_rolled(rolling, through=DAY + HOUR)
    assert read(rolling.connection, "event_hour")[0][3] == 2


def test_an_event_whose_flush_commits_first_is_in_the_hour_that_waited_for_it(rolling, second_connection):
    rolling.flush([], watermark=DAY + 2 * HOUR)
    thread = threading.Thread(target=rolling.roll)
    with second_connection.transaction():
        rolling.write(second_connection, make_events(1), watermark=DAY + 2 * HOUR)
        thread.start()
        await_lock_wait(rolling.connection)
    thread.join(timeout=limit(10))
    assert_rolled(rolling, through=DAY + HOUR)
    assert read(rolling.connection, "event_hour")[0][3] == 1


def await_lock_wait(connection):
    wait_until(lambda: connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall(), what="a lock wait")


@pytest.mark.parametrize("state", ["held", "stopped", "moved"])
def test_a_partition_that_is_not_owned_is_left_alone(rolling, state):
    rolling.flush(make_events(*MINUTES), watermark=NOON_AFTER)
    rolling.connection.execute("UPDATE partition_state SET state = %s WHERE partition = %s", [state, PARTITION])
    with pytest.raises(PartitionNotOwned):
        rolling.roll()
    assert read(rolling.connection, "event_hour") == []
    assert PARTITION not in find_partitions_to_roll(rolling.cluster, grace_seconds=300)


def test_a_partition_of_another_epoch_is_left_alone(rolling):
    rolling.flush(make_events(*MINUTES), watermark=NOON_AFTER)
    rolling.connection.execute("UPDATE partition_state SET epoch = 2 WHERE partition = %s", [PARTITION])
    with pytest.raises(StaleTopology):
        rolling.roll()
    assert read(rolling.connection, "event_hour") == []


def test_only_partitions_with_something_to_do_are_named(rolling):
    assert find_partitions_to_roll(rolling.cluster, grace_seconds=300) == []
    rolling.flush(make_events(0), watermark=DAY + 2 * HOUR)
    assert find_partitions_to_roll(rolling.cluster, grace_seconds=300) == [PARTITION]
    rolling.roll()
    assert find_partitions_to_roll(rolling.cluster, grace_seconds=300) == []
    rolling.flush(make_events(1), watermark=DAY + 2 * HOUR)
    assert find_partitions_to_roll(rolling.cluster, grace_seconds=300) == [PARTITION]

"""Retention on a real shard: what goes, what stays, and what is never allowed to go."""

import io
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from django.core.management import CommandError, call_command

from tests.integration.processing.rolling import PARTITION, Event, Rolling
from viewcounter.config import get_config
from viewcounter.maintenance.retention import drop_old_raw_days
from viewcounter.storage.raw_days import ensure_raw_days

DAY = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
KEEP = {"ids": 24 * HOUR, "minutes": 24 * HOUR, "hours": 96 * HOUR}


@pytest.fixture
def rolling(clean_cluster, shard_connection):
    return Rolling(clean_cluster, shard_connection)


def at(hours):
    return DAY + hours * HOUR


def make_events(*hours):
    return [Event("a", 1, at(h), 1000) for h in hours]


def read_starts(rolling, table):
    rows = rolling.connection.execute(f"SELECT start FROM {table} ORDER BY start").fetchall()  # noqa: S608
    return [row["start"] for row in rows]


def read_edges(rolling):
    state = rolling.get_state()
    return state["admits_since"], state["minutes_since"], state["hours_since"]


def test_minutes_and_hours_go_by_age_and_days_stay(rolling):
    hours = (0, 23, 24, 100, 143.5, 144, 150, 167)
    rolling.flush(make_events(*hours), watermark=at(168))
    rolling.roll()
    report = rolling.retain(**KEEP)
    assert read_edges(rolling) == (at(144) + timedelta(minutes=10), at(144), at(72))
    assert read_starts(rolling, "event_minute") == [at(h) for h in (144, 150, 167)]
    assert read_starts(rolling, "event_hour") == [at(h) for h in (100, 143, 144, 150)]
    assert read_starts(rolling, "event_day") == [at(h) for h in (0, 24, 96, 120)]
    assert (report.minute_count, report.hour_count, report.is_complete) == (5, 3, True)


def test_what_is_not_rolled_is_not_removed(rolling):
    rolling.flush(make_events(0, 23, 100, 167), watermark=at(168))
    rolling.retain(**KEEP)
    assert read_edges(rolling)[1:] == (NEVER, NEVER)
    assert len(read_starts(rolling, "event_minute")) == 4
    rolling.roll(transactions=2)
    rolling.retain(**KEEP)
    assert read_edges(rolling)[1:] == (at(0), at(0))  # the day is not closed: its quarter hours are not made
    assert len(read_starts(rolling, "event_minute")) == 4
    rolling.roll(transactions=2)
    rolling.retain(**KEEP)
    assert read_edges(rolling)[1:] == (at(24), at(24))
    assert read_starts(rolling, "event_minute") == [at(h) for h in (100, 167)]


def test_a_dirty_hour_or_day_keeps_the_minutes_and_hours_of_its_day(rolling):
    rolling.flush(make_events(0, 1, 100, 167), watermark=at(168))
    rolling.roll()
    rolling.flush(make_events(1), watermark=at(168))
    rolling.retain(**KEEP)
    assert read_edges(rolling)[1:] == (at(0), at(0))
    rolling.roll(transactions=1)
    rolling.retain(**KEEP)
    assert read_edges(rolling)[1:] == (at(0), at(0))  # the hour is clean, the day is not
    rolling.roll()
    rolling.retain(**KEEP)
    assert read_edges(rolling)[1:] == (at(144), at(72))
    assert read_starts(rolling, "event_day") == [at(0), at(96)]
    days = rolling.connection.execute("SELECT count FROM event_day ORDER BY start").fetchall()
    assert [row["count"] for row in days] == [3, 1]


def test_a_day_of_an_earlier_release_keeps_its_hours_as_parts_of_the_day(rolling):
    values = [Event("a", 6, at(1), 5), Event("a", 6, at(2), 7)]
    rolling.flush([*make_events(0, 0.5, 23, 100, 167), *values], watermark=at(168))
    rolling.roll()
    rolling.connection.execute(
        "UPDATE event_day SET resolution = NULL, slots = NULL, counts = NULL, sums = NULL, mins = NULL, maxs = NULL"
    )
    rolling.retain(**KEEP)
    assert read_starts(rolling, "event_hour")[0] == at(100)
    days = rolling.connection.execute(
        "SELECT event_type_id, resolution, slots, counts, sums, mins, maxs FROM event_day WHERE start = %s ORDER BY 1",
        [at(0)],
    ).fetchall()
    assert [tuple(row.values()) for row in days] == [
        (1, 60, [0, 92], [2, 3], None, None, None),
        (6, 60, [4, 8], [1, 2], [5, 12], [5, 7], [5, 7]),
    ]


def test_an_event_can_no_longer_reach_an_hour_whose_minutes_are_gone(rolling):
    rolling.flush(make_events(0, 167), watermark=at(168))
    rolling.roll()
    rolling.retain(**KEEP)
    rolling.flush(make_events(0, 143, 144), watermark=at(168))
    assert [event.minute for event in rolling.counted] == [at(0), at(167)]
    admitted = [Event("a", 1, at(144) + timedelta(minutes=10), 1000)]
    rolling.flush(admitted, watermark=at(168))
    rolling.roll()
    counts = rolling.connection.execute("SELECT start, count FROM event_hour WHERE start = %s", [at(144)]).fetchall()
    assert [row["count"] for row in counts] == [1]


@pytest.mark.parametrize("transactions", range(1, 8))
def test_stopping_after_any_transaction_leaves_edges_true_and_the_next_run_goes_on(rolling, transactions):
    rolling.flush(make_events(0, 1, 30, 100, 143, 150), watermark=at(168))
    rolling.roll()
    rolling.retain(**KEEP, steps=transactions)
    _, minutes_since, hours_since = read_edges(rolling)
    gone = {at(h) for h in (0, 1, 30, 100, 143, 150)} - set(read_starts(rolling, "event_minute"))
    assert all(start < minutes_since for start in gone)
    gone = {at(h) for h in (0, 1, 30, 100, 143, 150)} - set(read_starts(rolling, "event_hour"))
    assert all(start < hours_since for start in gone)
    rolling.retain(**KEEP)
    assert read_starts(rolling, "event_minute") == [at(150)]
    assert read_starts(rolling, "event_hour") == [at(h) for h in (100, 143, 150)]


def test_ids_go_by_the_age_of_what_stored_them_whatever_minute_their_clock_says(rolling):
    sequence = count()

    def insert(minute, stored_at):
        rolling.connection.execute(
            "INSERT INTO event_ids (partition, minute, position, ids, contents, stored_at)"
            " VALUES (%s, %s, %s, '', '', %s)",
            [PARTITION, minute, f"1-{next(sequence)}", stored_at],
        )

    insert(at(0), stored_at=at(1))  # old and long stored
    insert(at(143), stored_at=at(143))
    insert(at(-9000), stored_at=at(2))  # made by clocks far off
    insert(at(9000), stored_at=at(3))
    kept = [(at(-9000), at(150)), (at(0), at(149)), (at(143), at(167)), (at(9000), at(150))]
    for minute, stored_at in kept:
        insert(minute, stored_at=stored_at)
    rolling.flush(make_events(0), watermark=at(168))
    report = rolling.retain(**KEEP)
    left = rolling.connection.execute("SELECT minute FROM event_ids ORDER BY minute").fetchall()
    assert [row["minute"] for row in left] == [minute for minute, _ in kept]
    assert report.id_row_count == 4


def test_ages_count_from_the_watermark_so_that_what_waits_in_the_log_finds_its_ids(rolling):
    rolling.flush(make_events(0, 1), watermark=at(2))
    rolling.roll()
    rolling.retain(**KEEP)  # the clock on the wall is far ahead of the watermark
    assert len(read_starts(rolling, "event_minute")) == 2
    assert read_edges(rolling)[0] < at(0)


def test_resolved_dead_letters_go_after_their_time_and_unresolved_ones_never(rolling):
    for days, state in ((40, "new"), (40, "replayed"), (40, "discarded"), (20, "replayed")):
        resolved = None if state == "new" else timedelta(days=days)
        rolling.connection.execute(
            "INSERT INTO dead_letter (partition, position, reason, detail, payload, state, created_at, resolved_at)"
            " VALUES (%s, '1-0', 'r', '', '', %s, now() - %s::interval, now() - %s::interval)",
            [PARTITION, state, timedelta(days=50), resolved],
        )
    for days in (40, 31, 29, 1):
        rolling.connection.execute(
            "INSERT INTO event_conflict (partition, event_id, minute, position, first_content, video_id, event_type_id,"
            " occurred_at, value, received_at, created_at)"
            " VALUES (%s, gen_random_uuid(), now(), '1-0', 0, 'a', 1, now(), 1, now(), now() - %s::interval)",
            [PARTITION, timedelta(days=days)],
        )
    report = rolling.retain(**KEEP)
    assert (report.dead_letter_count, report.conflict_count) == (2, 2)
    letters = rolling.connection.execute("SELECT state FROM dead_letter ORDER BY id").fetchall()
    assert [letter["state"] for letter in letters] == ["new", "replayed"]
    assert rolling.connection.execute("SELECT count(*) AS n FROM event_conflict").fetchone()["n"] == 2


def list_raw_days(connection):
    rows = connection.execute(
        "SELECT relid::text AS name FROM pg_partition_tree('raw_event') WHERE level = 1 ORDER BY 1"
    )
    return [row["name"] for row in rows]


def test_days_of_raw_events_are_dropped_whole_once_every_partition_has_passed_them(clean_cluster, shard_connection):
    policy = get_config().retention
    kept = list_raw_days(shard_connection)
    old = date(2020, 5, 1)
    with shard_connection.transaction():
        ensure_raw_days(shard_connection, today=old + timedelta(days=1))
    old_days = [f"raw_event_202005{day:02d}" for day in range(1, 10)]
    assert list_raw_days(shard_connection) == old_days + kept
    passed = datetime(2020, 5, 20, tzinfo=UTC)
    shard_connection.execute("UPDATE partition_state SET watermark = %s, admits_since = %s", [passed, passed])
    behind = datetime(2020, 5, 5, 12, tzinfo=UTC)
    shard_connection.execute("UPDATE partition_state SET admits_since = %s WHERE partition = 3", [behind])
    drop_old_raw_days(clean_cluster, policy=policy)
    assert list_raw_days(shard_connection) == old_days[4:] + kept
    shard_connection.execute("UPDATE partition_state SET admits_since = %s", [passed])
    shard_connection.execute("INSERT INTO sketch_due (partition, tier, start) VALUES (3, 'hour', %s)", [behind])
    drop_old_raw_days(clean_cluster, policy=policy)
    assert list_raw_days(shard_connection) == old_days[4:] + kept
    shard_connection.execute("DELETE FROM sketch_due")
    with shard_connection.transaction():
        shard_connection.execute("LOCK TABLE raw_event IN ROW EXCLUSIVE MODE")
        drop_old_raw_days(clean_cluster, policy=policy)  # gives way to writers
    assert list_raw_days(shard_connection) == old_days[4:] + kept
    drop_old_raw_days(clean_cluster, policy=policy)
    assert list_raw_days(shard_connection) == kept


def run(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_commands_roll_sketch_and_remove_and_a_dry_run_only_says_so(rolling):
    rolling.flush(make_events(0, 1, 30), watermark=at(24 * 20))
    assert "partition 3: rolled through 2026-01-20T23:00Z; 3 hours, 2 days" in run("rollup", "--partition", "3")
    said = run("sketch", "--partition", "3")  # there are no raw events here
    assert "partition 3: 0 sketches of hours, 0 of days, 5 could not be made" in said
    said = run("retention", "--partition", "3", "--dry-run")
    assert "ids of events before 2026-01-13T00:10Z" in said
    assert "minutes before 2026-01-13T00:00Z" in said
    assert len(read_starts(rolling, "event_minute")) == 3
    assert read_edges(rolling) == (NEVER, NEVER, NEVER)
    assert "partition 3: removed 3 minutes, 0 hours, 0 rows of ids" in run("retention", "--partition", "3")
    assert read_starts(rolling, "event_minute") == []
    assert "nothing" in run("retention", "--partition", "3", "--dry-run")
    assert "partition 31: rolled through" in run("rollup", "--all")
    with pytest.raises(CommandError, match="no such partition: 32"):
        run("rollup", "--partition", "32")

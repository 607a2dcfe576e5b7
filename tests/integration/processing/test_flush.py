"""The flush transaction on a real shard: all of it, once, or nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from configservice.topology.model import EventType
from tests.unit.processing.builders import MINUTE_US, MemoryIds, uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import Entry, Position
from viewcounter.processing.batch import decode_entries, prepare_batch
from viewcounter.storage import flush_content
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.flush import apply_flush
from viewcounter.storage.partitions import PartitionState
from viewcounter.storage.settings import DeadLetterLimits

NOW = datetime.now(UTC).replace(second=30, microsecond=0)
HOUR = NOW.replace(minute=0, second=0)
NOW_US = int(NOW.timestamp()) * 1_000_000
VIDEO, LONG_VIDEO = "XpVt6Z1Gjjo", "ünïcode-🎬" * 4
TYPES = {1: EventType(1, "view", False), 6: EventType(6, "watch_time", True), 7: EventType(7, "added_later", False)}

DEAD_LETTERS = DeadLetterLimits(run_max=10, ratio_max=0.5, ratio_min_events=100, window_seconds=60.0)

TABLES = ("raw_event", "event_ids", "event_minute", "event_total", "ledger", "dead_letter", "rollup_dirty", "video")


def event(number, video=VIDEO, type_id=1, value=1000, *, minutes_ago=0, viewer=0):
    return AcceptedEvent(uuid4_of(number).bytes, video, type_id, NOW_US - minutes_ago * MINUTE_US, value, viewer)


def build_batch(*events, partition=3, old="0-0", new="5-0", admits_since=datetime(1970, 1, 1, tzinfo=UTC)):
    entry = Entry(Position.parse(new), pack_entry(events, received_us=NOW_US))
    return prepare_batch(
        decode_entries([entry]),
        partition=partition,
        state=PartitionState(epoch=1, position=old, watermark=NOW, state="owned", admits_since=admits_since),
        event_types=TYPES,
        known=MemoryIds(),
        max_conflicts=2,
        complete_at=datetime.fromtimestamp(entry.position.term / 1000, UTC),
    ).batch


def dump(connection):
    rows = {t: connection.execute(f"SELECT * FROM {t} ORDER BY {t}::text").fetchall() for t in TABLES}  # noqa: S608
    states = connection.execute("SELECT partition, position, watermark FROM partition_state ORDER BY 1").fetchall()
    return rows | {"states": states}


def run(connection, batch):
    with connection.transaction():
        apply_flush(connection, batch, limits=DEAD_LETTERS)


EVENTS = (
    event(1, viewer=2**63 - 1),
    event(2),
    event(2),
    event(3, LONG_VIDEO, 6, 12_500, viewer=-(2**63)),
    event(4, LONG_VIDEO, 6, 7, minutes_ago=90),
    event(5, "x", 7),
    event(6, type_id=99),
)


def test_a_flush_writes_raw_rows_ids_aggregates_ledger_and_dead_letters(shard_connection):
    run(shard_connection, build_batch(*EVENTS))
    rows = dump(shard_connection)
    raw = [
        (r["event_id"].bytes, r["video_id"], r["event_type_id"], r["occurred_at"], r["value"], r["viewer"])
        for r in rows["raw_event"]
    ]
    assert sorted(raw) == sorted(
        (e.event_id, e.video_id, e.type_id, datetime.fromtimestamp(e.occurred_us / 1e6, UTC), e.value, e.viewer)
        for e in (EVENTS[0], EVENTS[1], *EVENTS[3:6])
    )
    assert {r["received_at"] for r in rows["raw_event"]} == {NOW}
    totals = {
        (r["video_id"], r["event_type_id"]): (r["count"], r["sum"], r["min"], r["max"]) for r in rows["event_total"]
    }
    assert totals == {
        (VIDEO, 1): (2, 2000, 1000, 1000),
        (LONG_VIDEO, 6): (2, 12_507, 7, 12_500),
        ("x", 7): (1, 1000, 1000, 1000),
    }
    minute = NOW.replace(second=0)
    minutes = {(r["video_id"], r["event_type_id"], r["start"]): r["sum"] for r in rows["event_minute"]}
    assert minutes == {
        (VIDEO, 1, minute): 2000,
        (LONG_VIDEO, 6, minute): 12_500,
        (LONG_VIDEO, 6, minute - timedelta(minutes=90)): 7,
        ("x", 7, minute): 1000,
    }
    ledger = [(r["received"], r["counted"], r["duplicate"], r["conflict"], r["dead_lettered"]) for r in rows["ledger"]]
    assert sorted(ledger) == [(1, 1, 0, 0, 0), (6, 4, 1, 0, 1)]
    assert sum(len(r["ids"]) for r in rows["event_ids"]) == 16 * 5
    assert [r["reason"] for r in rows["dead_letter"]] == ["unknown_event_type"]
    assert {"partition": 3, "position": "5-0"}.items() <= next(s for s in rows["states"] if s["partition"] == 3).items()


def test_later_flushes_add_to_the_first(shard_connection):
    run(shard_connection, build_batch(event(1, type_id=6, value=5)))
    run(shard_connection, build_batch(event(2, type_id=6, value=3), event(3, type_id=6, value=9), old="5-0", new="6-0"))
    run(shard_connection, build_batch(event(4, type_id=6, value=6), old="6-0", new="7-0"))
    for table in ("event_total", "event_minute"):
        [row] = shard_connection.execute(f"SELECT count, sum, min, max FROM {table}").fetchall()  # noqa: S608
        assert row == {"count": 4, "sum": 23, "min": 3, "max": 9}
    [line] = shard_connection.execute("SELECT counted, digest FROM ledger").fetchall()
    assert line["counted"] == 4
    digests = build_batch(*map(event, range(1, 5))).counted.id_digests()
    assert int(line["digest"]) == sum(map(int, digests)) % 2**64


class Crash(Exception):
    pass


@pytest.mark.parametrize("place", range(len(flush_content.STEPS) + 1))
def test_a_crash_between_any_two_statements_leaves_nothing_and_the_rerun_counts_once(
    shard_connection, monkeypatch, place
):
    before, batch = dump(shard_connection), build_batch(*EVENTS)

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(flush_content, "STEPS", [*flush_content.STEPS[:place], crash, *flush_content.STEPS[place:]])
        with pytest.raises(Crash):
            run(shard_connection, batch)
    assert dump(shard_connection) == before
    run(shard_connection, batch)
    assert shard_connection.execute("SELECT sum(count) AS n FROM event_total").fetchone()["n"] == 5


@pytest.mark.parametrize(
    ("column", "value"),
    [("position", "4-0"), ("epoch", 2), ("state", "held"), ("state", "stopped"), ("state", "moved")],
)
def test_a_flush_for_another_position_epoch_or_state_writes_nothing(shard_connection, column, value):
    shard_connection.execute(f"UPDATE partition_state SET {column} = %s WHERE partition = 3", [value])  # noqa: S608
    before = dump(shard_connection)
    for events in (EVENTS, EVENTS[:1]):  # one with dead letters is refused by their own look at the row
        with pytest.raises(PositionMoved):
            run(shard_connection, build_batch(*events))
    assert dump(shard_connection) == before


def test_the_same_flush_twice_counts_once(shard_connection):
    run(shard_connection, build_batch(*EVENTS))
    once = dump(shard_connection)
    with pytest.raises(PositionMoved):
        run(shard_connection, build_batch(*EVENTS))
    assert dump(shard_connection) == once


def test_a_flush_never_puts_the_watermark_back(shard_connection):
    """Answers have said `complete_until` it."""
    run(shard_connection, replace(build_batch(event(1)), watermark=HOUR))
    earlier = replace(build_batch(event(2), old="5-0", new="6-0"), watermark=HOUR - timedelta(hours=1))
    run(shard_connection, earlier)
    [state] = shard_connection.execute("SELECT position, watermark FROM partition_state WHERE partition = 3").fetchall()
    assert state == {"position": "6-0", "watermark": HOUR}


def test_late_events_mark_their_hour_and_day_dirty_and_fresh_ones_do_not(shard_connection):
    shard_connection.execute("UPDATE partition_state SET rolled_through = %s WHERE partition = 3", [HOUR])
    yesterday = HOUR.replace(hour=0) - timedelta(minutes=1)
    late = int((NOW - yesterday).total_seconds()) // 60
    run(
        shard_connection,
        build_batch(event(1), event(2, LONG_VIDEO, 6, minutes_ago=late), event(3, LONG_VIDEO, 6, minutes_ago=late)),
    )
    assert read_marks(shard_connection) == [
        ("hour", LONG_VIDEO, 6, yesterday.replace(minute=0)),
        ("day", LONG_VIDEO, 6, yesterday.replace(hour=0, minute=0)),
    ]


def test_a_day_that_is_not_rolled_yet_is_not_marked_for_its_late_events(shard_connection):
    late = NOW.replace(second=0) - timedelta(minutes=70)
    hour = late.replace(minute=0)
    shard_connection.execute(
        "UPDATE partition_state SET rolled_through = %s WHERE partition = 3", [hour + timedelta(hours=1)]
    )
    run(shard_connection, build_batch(event(1, minutes_ago=70)))
    is_end_of_day = (hour + timedelta(hours=1)).hour == 0
    expected = [("hour", VIDEO, 1, hour), *([("day", VIDEO, 1, hour.replace(hour=0))] if is_end_of_day else [])]
    assert read_marks(shard_connection) == expected


def read_marks(connection):
    rows = connection.execute("SELECT tier, video_id, event_type_id, start FROM rollup_dirty ORDER BY tier DESC")
    return [tuple(row.values()) for row in rows]


def test_a_flush_whose_oldest_event_retention_has_passed_meanwhile_writes_nothing(shard_connection):
    """Its verdict about duplicates rests on ids that may be gone."""
    batch = build_batch(event(1), event(2, minutes_ago=90))
    admits_since = NOW.replace(second=0) - timedelta(minutes=89)
    shard_connection.execute("UPDATE partition_state SET admits_since = %s WHERE partition = 3", [admits_since])
    before = dump(shard_connection)
    with pytest.raises(PositionMoved):
        run(shard_connection, batch)
    assert dump(shard_connection) == before


def test_an_event_too_old_to_be_compared_with_earlier_ids_is_a_dead_letter(shard_connection):
    oldest = NOW - timedelta(minutes=90)
    admits_since = oldest.replace(second=0) + timedelta(minutes=1)
    shard_connection.execute("UPDATE partition_state SET admits_since = %s WHERE partition = 3", [admits_since])
    batch = build_batch(event(1), event(2, minutes_ago=90), event(3, minutes_ago=89), admits_since=admits_since)
    run(shard_connection, batch)
    rows = dump(shard_connection)
    assert [r["reason"] for r in rows["dead_letter"]] == ["too_late"]
    assert {r["event_id"] for r in rows["raw_event"]} == {uuid4_of(1), uuid4_of(3)}
    assert sum(r["dead_lettered"] for r in rows["ledger"]) == 1

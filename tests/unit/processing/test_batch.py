from datetime import UTC, datetime

from configservice.topology.model import EventType
from tests.unit.processing.builders import MINUTE_US, MemoryIds, Row, uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry, unpack_entry
from viewcounter.eventlog.interface import Entry, Position
from viewcounter.processing.batch import (
    UNKNOWN_EVENT_TYPE,
    UNREADABLE_ENTRY,
    DecodedRange,
    decode_entries,
    prepare_batch,
)
from viewcounter.storage.partitions import PartitionState

TYPES = {1: EventType(1, "view", False), 6: EventType(6, "watch_time", True)}
STATE = PartitionState(epoch=3, position="1-0", watermark=datetime(2026, 1, 1, tzinfo=UTC), state="owned")


def entry(position, *rows, received_us=77):
    events = [
        AcceptedEvent(uuid4_of(r.event).bytes, r.video, r.type_id, r.minute * MINUTE_US, r.value, r.viewer)
        for r in rows
    ]
    return Entry(Position.parse(position), pack_entry(events, received_us=received_us))


def prepare(*entries):
    return prepare_batch(
        decode_entries(entries),
        partition=5,
        state=STATE,
        event_types=TYPES,
        known=MemoryIds(),
        max_conflicts=2,
        complete_at=datetime.fromtimestamp(entries[-1].position.term / 1000, UTC),
    )


def test_a_batch_moves_from_the_state_to_the_last_entry_and_its_time():
    batch = prepare(entry("2000-0", Row(1)), entry("3000-4", Row(2), Row(1))).batch
    assert (batch.old_position, batch.new_position, batch.epoch) == ("1-0", "3000-4", 3)
    assert batch.watermark == datetime.fromtimestamp(3, UTC)
    assert len(batch.counted) == 2
    [line] = batch.ledger
    assert (line.received, line.counted, line.duplicate) == (3, 2, 1)


def test_an_unreadable_entry_becomes_a_dead_letter_and_its_neighbours_count():
    batch = prepare(entry("2-0", Row(1)), Entry(Position(3, 0), b"\xffnot an entry"), entry("4-0", Row(2))).batch
    assert len(batch.counted) == 2
    [letter] = batch.dead_letters
    assert (letter.reason, letter.position, letter.payload) == (UNREADABLE_ENTRY, "3-0", b"\xffnot an entry")


def test_a_range_of_only_unreadable_entries_still_moves_the_position():
    batch = prepare(Entry(Position(3, 0), b"")).batch
    assert (batch.new_position, len(batch.counted), batch.ledger) == ("3-0", 0, [])
    assert len(batch.dead_letters) == 1


def test_events_of_an_unknown_type_are_dead_lettered_as_a_replayable_entry():
    batch = prepare(
        entry("2-0", Row(1), Row(2, "b", type_id=9, value=5, viewer=-4), Row(3, type_id=9), received_us=123)
    ).batch
    assert [letter.reason for letter in batch.dead_letters] == [UNKNOWN_EVENT_TYPE, UNKNOWN_EVENT_TYPE]
    again = [unpack_entry(letter.payload) for letter in batch.dead_letters]
    assert [columns.type_ids.tolist() for columns in again] == [[9], [9]]
    assert [columns.event_ids.tobytes() for columns in again] == [uuid4_of(2).bytes, uuid4_of(3).bytes]
    assert [columns.received_us.tolist() for columns in again] == [[123], [123]]
    assert [columns.viewers.tolist() for columns in again] == [[-4], [0]]
    [line] = batch.ledger
    assert (line.received, line.counted, line.dead_lettered) == (3, 1, 2)


def test_one_id_with_two_viewers_is_a_conflict_and_the_first_counts():
    prepared = prepare(entry("2-0", Row(1, viewer=7), Row(1, viewer=8), Row(1), Row(1, viewer=7)))
    assert prepared.batch.counted.viewers.tolist() == [7]
    assert (prepared.conflict_count, prepared.duplicate_count) == (2, 1)
    assert prepared.batch.conflicts.events.viewers.tolist() == [8, 0]


def test_only_used_event_types_travel_with_the_batch():
    assert prepare(entry("2-0", Row(1, type_id=6))).batch.event_types == {6: "watch_time"}


def test_joined_ranges_equal_one_range():
    first, second = entry("2-0", Row(1), Row(2, "b")), entry("3-0", Row(3, "b"), Row(4, "c"))
    joined = DecodedRange.join([decode_entries([first]), decode_entries([second])])
    whole = decode_entries([first, second])
    assert joined.end == whole.end
    assert joined.columns.videos == whole.columns.videos
    assert joined.columns.video_index.tolist() == whole.columns.video_index.tolist()

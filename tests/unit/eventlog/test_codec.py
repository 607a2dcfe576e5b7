"""A packed entry says exactly what was put in, or nothing."""

import struct

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.eventlog.codec import (
    DIGEST_BYTES,
    HEAD_BYTES,
    ID_BYTES,
    AcceptedEvent,
    EntryLink,
    UnreadableEntry,
    find_received_at,
    get_event,
    get_event_count,
    link_entry,
    pack_entries,
    pack_entry,
    unpack_entries,
    unpack_entry,
)
from viewcounter.eventlog.interface import START, Position
from viewcounter.events.columns import Columns
from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS
from viewcounter.ingest.settings import SINGLE_EVENT_MAX_BYTES

INT64 = st.integers(-(2**63), 2**63 - 1)
events = st.builds(
    AcceptedEvent,
    event_id=st.binary(min_size=16, max_size=16),
    video_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10),
    type_id=st.integers(0, 2**16 - 1),
    occurred_us=INT64,
    value=INT64,
    viewer=st.just(0) | INT64,
)
SAMPLE = pack_entry(
    [AcceptedEvent(bytes(range(16)), "v", 1, 2, 3), AcceptedEvent(b"\0" * 16, "w", 4, 5, 6, -7)], received_us=7
)


@given(batch=st.lists(events, min_size=1, max_size=30), received_us=INT64)
def test_unpacking_gives_back_every_field_of_every_event_in_order(batch: list[AcceptedEvent], received_us: int) -> None:
    columns = unpack_entry(pack_entry(batch, received_us=received_us))
    assert list_events(columns) == batch
    assert np.array_equal(columns.received_us, np.full(len(batch), received_us))


@given(batch=st.lists(events, min_size=1, max_size=60), max_bytes=st.integers(SINGLE_EVENT_MAX_BYTES, 4096))
def test_entries_within_a_size_hold_every_event_in_order(batch: list[AcceptedEvent], max_bytes: int) -> None:
    entries = pack_entries(batch, received_us=7, max_bytes=max_bytes)
    assert [event for entry in entries for event in list_events(unpack_entry(entry))] == batch
    assert max(map(len, entries)) <= max_bytes
    if len(pack_entry(batch, received_us=7)) <= max_bytes:
        assert entries == [pack_entry(batch, received_us=7)]


def test_the_largest_event_fits_into_the_smallest_bound_of_an_entry() -> None:
    widest = "\U0010ffff" * VIDEO_ID_MAX_CHARACTERS
    event = AcceptedEvent(b"\xff" * 16, widest, 2**16 - 1, 2**63 - 1, 2**63 - 1, 2**63 - 1)
    assert len(pack_entry([event], received_us=2**63 - 1)) <= SINGLE_EVENT_MAX_BYTES


def list_events(columns: Columns) -> list[AcceptedEvent]:
    raw_ids = columns.event_ids.tobytes()
    return [
        AcceptedEvent(
            raw_ids[16 * row : 16 * row + 16],
            columns.videos[columns.video_index[row]],
            int(columns.type_ids[row]),
            int(columns.occurred_us[row]),
            int(columns.values[row]),
            int(columns.viewers[row]),
        )
        for row in range(len(columns))
    ]


@given(batches=st.lists(st.lists(events, min_size=1, max_size=5), max_size=8), data=st.data())
def test_entries_unpacked_together_are_their_readable_events_in_order(
    batches: list[list[AcceptedEvent]], data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, max(0, len(batches) - 1)), max_size=len(batches)))
    payloads = [
        b"damaged" if number in bad else pack_entry(batch, received_us=number) for number, batch in enumerate(batches)
    ]
    columns, unreadable, _ = unpack_entries(payloads)
    good = {number: batch for number, batch in enumerate(batches) if number not in bad}
    assert list_events(columns) == [event for batch in good.values() for event in batch]
    assert columns.received_us.tolist() == [number for number, batch in good.items() for _ in batch]
    assert len(set(columns.videos)) == len(columns.videos)
    assert set(unreadable) == bad


def pack_by_hand(count: int, **changed: object) -> bytes:
    """An entry of two events of one video with something changed, and a digest that fits."""
    fields = {
        "version": 1,
        "received_us": 7,
        "videos": ["v"],
        "event_ids": bytes(32),
        "occurred_us": bytes(16),
        "type_ids": bytes(4),
        "values": bytes(16),
        "video_index": bytes(8),
    }
    body = struct.pack("<I", count) + msgspec.msgpack.encode(fields | changed)
    return xxhash.xxh3_64_digest(body) + body


def test_an_entry_made_by_hand_is_readable() -> None:
    assert len(unpack_entry(pack_by_hand(2))) == 2


def test_an_entry_of_version_1_has_events_without_viewers() -> None:
    assert unpack_entry(pack_by_hand(2)).viewers.tolist() == [0, 0]


def test_an_entry_without_viewers_is_of_version_1_and_has_no_room_for_them() -> None:
    """Readers of before read it, and it costs nothing."""
    events = [AcceptedEvent(bytes(16), "v", 0, 0, 0)] * 2
    assert pack_entry(events, received_us=7) == pack_by_hand(2)


def test_an_entry_with_a_viewer_is_of_version_2_and_has_a_number_for_each_event() -> None:
    events = [AcceptedEvent(bytes(16), "v", 0, 0, 0), AcceptedEvent(bytes(16), "v", 0, 0, 0, -2)]
    assert pack_entry(events, received_us=7) == pack_by_hand(2, version=2, viewers=struct.pack("<qq", 0, -2))


@given(batch=st.lists(events, min_size=1, max_size=5), data=st.data())
def test_an_event_taken_out_of_the_columns_is_the_one_that_was_put_in(
    batch: list[AcceptedEvent], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(batch) - 1))
    assert get_event(unpack_entry(pack_entry(batch, received_us=0)), row) == batch[row]


@pytest.mark.parametrize(
    ("count", "changed", "why"),
    [
        (2, {"version": 3}, "entry version 3"),
        (2, {"version": 0}, "entry version 0"),
        (2, {"version": 2}, "do not hold 2 events"),
        (2, {"version": 2, "viewers": bytes(15)}, "do not hold 2 events"),
        (2, {"viewers": bytes(16)}, "do not hold 2 events"),
        (3, {}, "do not hold 3 events"),
        (0, {}, "do not hold 0 events"),
        (2, {"event_ids": bytes(31)}, "do not hold 2 events"),
        (2, {"values": bytes(8)}, "do not hold 2 events"),
        (2, {"video_index": struct.pack("<II", 0, 1)}, "points past the list of videos"),
        (2, {"videos": []}, "points past the list of videos"),
        (2, {"received_us": 2**63}, "not a packed entry"),
        (2, {"videos": [1]}, "not a packed entry"),
    ],
)
def test_an_entry_that_contradicts_itself_is_unreadable_and_spares_its_neighbours(
    count: int, changed: dict[str, object], why: str
) -> None:
    columns, unreadable, _ = unpack_entries([SAMPLE, pack_by_hand(count, **changed), SAMPLE])
    assert list(unreadable) == [1]
    assert why in str(unreadable[1])
    assert columns.videos == ("v", "w")
    assert columns.video_index.tolist() == [0, 1, 0, 1]


@given(position=st.integers(0, len(SAMPLE) - 1), flipped=st.integers(1, 255))
def test_any_changed_byte_makes_the_entry_unreadable(position: int, flipped: int) -> None:
    damaged = bytearray(SAMPLE)
    damaged[position] ^= flipped
    with pytest.raises(UnreadableEntry):
        unpack_entry(bytes(damaged))


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_any_cut_makes_the_entry_unreadable(length: int) -> None:
    with pytest.raises(UnreadableEntry):
        unpack_entry(SAMPLE[:length])


@given(payload=st.binary(max_size=200))
def test_arbitrary_bytes_are_unreadable(payload: bytes) -> None:
    with pytest.raises(UnreadableEntry):
        unpack_entry(payload)


@given(batch=st.lists(events, min_size=1, max_size=5), producer=st.integers(0, 2**63 - 1), seq=st.integers(0, 2**40))
def test_a_link_changes_nothing_else_of_an_entry(batch: list[AcceptedEvent], producer: int, seq: int) -> None:
    plain = pack_entry(batch, received_us=5)
    link = EntryLink(producer, Position(10**13, seq))
    linked = link_entry(plain, link)
    unpacked = unpack_entries([plain, linked])
    assert unpacked.links == {1: link}
    assert list_events(unpacked.columns) == batch * 2
    assert get_event_count(linked) == len(batch)
    assert find_received_at(linked[:HEAD_BYTES]) == find_received_at(plain)
    assert link_entry(linked, None) == plain
    assert link_entry(linked, link) == linked


def test_a_damaged_entry_gets_no_link_that_would_hide_its_damage() -> None:
    damaged = SAMPLE[:-1] + bytes([SAMPLE[-1] ^ 1])
    assert link_entry(damaged, EntryLink(1, START)) == damaged


def test_a_release_without_links_reads_a_linked_entry() -> None:
    class Before(msgspec.Struct):
        version: int
        event_ids: bytes

    body = link_entry(SAMPLE, EntryLink(1, START))[DIGEST_BYTES + 4 :]
    assert len(msgspec.msgpack.decode(body, type=Before).event_ids) == 2 * ID_BYTES

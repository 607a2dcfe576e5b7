"""A flush's worth ends at the first of its bounds, and nothing between two of them is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import MINUTE_US, Row, uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import START, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.processing.consumer import PartitionConsumer, get_complete_ms
from viewcounter.processing.settings import FlushLimits

PARTITION = 3
NO_BOUND = FlushLimits(max_events=10**9, max_bytes=10**9, max_keys=10**9, max_seconds=10**9)
EVENT = AcceptedEvent(uuid4_of(1).bytes, "a", 1, 0, 1000)
EVENT_BYTES = 16 + 8 + 8 + 2 + 8 + 4 + 8

rows = st.builds(
    Row,
    event=st.integers(0, 10**6),
    video=st.sampled_from("abc"),
    minute=st.integers(0, 3),
    type_id=st.integers(1, 2),
    value=st.just(1000),
    viewer=st.integers(-1, 1),
)


def fill(entries):
    log = MemoryEventLog()
    for entry in entries:
        events = [
            AcceptedEvent(uuid4_of(r.event).bytes, r.video, r.type_id, r.minute * MINUTE_US, r.value, r.viewer)
            for r in entry
        ]
        log.append({PARTITION: pack_entry(events, received_us=0)})
    return log


def read_chunks(log, limits, *, max_read_entries=1, clock=lambda: 0.0):
    """By default an entry a read, so that a bound is seen after each."""
    consumer = PartitionConsumer(
        log, PARTITION, after=START, limits=limits, max_read_entries=max_read_entries, clock=clock
    )
    return list(iter(consumer.read_chunk, None))


def bound(**limits):
    return FlushLimits(**{name: getattr(NO_BOUND, name) for name in NO_BOUND.__slots__} | limits)


ENTRIES = [[Row(10 * entry + event, video="ab"[event % 2], minute=entry) for event in range(4)] for entry in range(9)]
"""Nine entries of four events and two new keys each."""


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (NO_BOUND, [36]),
        (bound(max_events=8), [8, 8, 8, 8, 4]),
        (bound(max_events=9), [12, 12, 12]),
        (bound(max_bytes=8 * EVENT_BYTES), [8, 8, 8, 8, 4]),
        (bound(max_keys=6), [12, 12, 12]),
        (bound(max_keys=7), [16, 16, 4]),
        (bound(max_keys=7, max_events=12), [12, 12, 12]),
    ],
)
def test_a_flush_takes_no_more_once_a_bound_is_reached(limits, sizes):
    assert [len(chunk.decoded.columns) for chunk in read_chunks(fill(ENTRIES), limits)] == sizes


def test_a_flush_takes_no_more_once_its_time_is_over():
    clock = iter([0.0, 0.4, 0.8, 1.2, 10.0, 10.9, 11.1, *[20.0] * 20])
    chunks = read_chunks(fill(ENTRIES), bound(max_seconds=1.0), clock=lambda: next(clock))
    assert [len(chunk.decoded.columns) for chunk in chunks] == [12, 8, 16]


@given(entries=st.lists(st.lists(rows, min_size=1, max_size=6), min_size=1, max_size=12), max_keys=st.integers(1, 8))
def test_the_bound_of_keys_is_found_as_by_counting_them_after_each_entry(entries, max_keys):
    expected, keys = [0], set()
    for entry in entries:
        if len(keys) >= max_keys:
            expected.append(0)
            keys = set()
        expected[-1] += len(entry)
        keys |= {(row.video, row.type_id, row.minute) for row in entry}
    chunks = read_chunks(fill(entries), bound(max_keys=max_keys))
    assert [len(chunk.decoded.columns) for chunk in chunks] == expected


@given(
    entries=st.lists(st.lists(rows, min_size=1, max_size=6), min_size=1, max_size=12),
    max_events=st.integers(1, 20),
    max_read_entries=st.integers(1, 5),
)
def test_every_event_is_read_once_and_in_order_however_reads_are_cut(entries, max_events, max_read_entries):
    chunks = read_chunks(fill(entries), bound(max_events=max_events), max_read_entries=max_read_entries)
    ids = b"".join(chunk.decoded.columns.event_ids.tobytes() for chunk in chunks)
    assert ids == b"".join(uuid4_of(row.event).bytes for entry in entries for row in entry)


def test_the_end_of_the_log_is_known_with_the_chunk_that_reaches_it():
    log = fill(ENTRIES)
    assert [chunk.at_end for chunk in read_chunks(log, bound(max_events=20), max_read_entries=5)] == [False, True]
    assert read_chunks(MemoryEventLog(), NO_BOUND) == []


@pytest.mark.parametrize(
    ("end_ms", "is_tail", "complete_ms"),
    [(900, False, 900), (1000, True, 1000), (1001, True, 1000), (1001, False, None), (2**63, True, 1000)],
)
def test_a_position_of_the_future_promises_nothing(end_ms, is_tail, complete_ms):
    assert get_complete_ms(Position(end_ms, 3), read_at_ms=1000, is_tail=is_tail) == complete_ms


def test_entries_behind_the_bound_of_a_read_are_not_promised():
    log = MemoryEventLog(clock=lambda: 5000.0)
    first, _ = (log.append({PARTITION: pack_entry([EVENT], received_us=0)}).positions[PARTITION] for _ in range(2))
    consumer = PartitionConsumer(
        log, PARTITION, after=START, until=first, limits=NO_BOUND, max_read_entries=10, wall_clock=lambda: 4000.0
    )
    chunk = consumer.read_chunk()
    assert (chunk.decoded.end, chunk.at_end, chunk.complete_ms) == (first, True, None)

"""A flush's worth ends at the first of its bounds, and nothing between two of them is left out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import MINUTE_US, Row, uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import START, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.processing.consumer import MAX_BARRIERS, LogConsumer
from viewcounter.processing.errors import LogEndLost
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
    consumer = LogConsumer(log, {PARTITION: START}, limits=limits, max_read_entries=max_read_entries, clock=clock)
    return list(iter(lambda: consumer.read_chunk().parts.get(PARTITION), None))


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
    consumer = LogConsumer(fill(ENTRIES), {PARTITION: START}, limits=bound(max_events=20), max_read_entries=5)
    chunks = [consumer.read_chunk() for _ in range(3)]
    assert [(chunk.at_end, bool(chunk.parts)) for chunk in chunks] == [(False, True), (True, True), (True, False)]


@given(
    sizes=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    max_events=st.integers(1, 12),
    max_read_entries=st.integers(1, 20),
)
def test_partitions_are_read_together_each_in_its_own_order(sizes, max_events, max_read_entries):
    log = MemoryEventLog()
    expected = {}
    for partition, size in enumerate(sizes):
        ids = [uuid4_of(100 * partition + number).bytes for number in range(size)]
        for event_id in ids:
            log.append({partition: pack_entry([EVENT._replace(event_id=event_id)], received_us=0)})
        if ids:
            expected[partition] = b"".join(ids)
    consumer = LogConsumer(
        log, dict.fromkeys(range(3), START), limits=bound(max_events=max_events), max_read_entries=max_read_entries
    )
    found, at_end = {}, False
    while not at_end:
        chunk = consumer.read_chunk()
        at_end = chunk.at_end
        assert list(chunk.parts) == sorted(chunk.parts)
        for partition, part in chunk.parts.items():
            found[partition] = found.get(partition, b"") + part.decoded.columns.event_ids.tobytes()
    assert found == expected
    assert consumer.positions == log.barrier(range(3))


def test_a_partition_whose_log_is_trimmed_past_its_position_is_left_out():
    log = MemoryEventLog()
    for _ in range(2):
        last = log.append({p: pack_entry([EVENT], received_us=0) for p in (1, 2)}).positions
    log.trim(1, through=last[1])
    consumer = LogConsumer(log, {1: START, 2: START}, limits=NO_BOUND, max_read_entries=10)
    assert list(consumer.read_chunk().parts) == [2]
    assert list(consumer.trimmed) == [1]


class SteppingClock:
    """A clock of the reader that goes on by a second with each look."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def follow(log, **options):
    options = {"limits": NO_BOUND, "max_read_entries": 10, "now": SteppingClock()} | options
    return LogConsumer(log, {PARTITION: START}, **options)


def append(log):
    return log.append({PARTITION: pack_entry([EVENT], received_us=0)}).positions[PARTITION]


def test_a_partition_is_complete_up_to_the_clock_read_before_its_end():
    log = MemoryEventLog(clock=lambda: 4e9)  # positions of a wrong clock promise nothing
    append(log)
    consumer = follow(log)
    assert consumer.read_chunk().parts[PARTITION].complete_at == NOON + timedelta(seconds=1)
    append(log)
    assert consumer.read_chunk().parts[PARTITION].complete_at == NOON + timedelta(seconds=2)


def test_a_backlog_is_complete_only_once_the_end_seen_before_it_is_reached():
    log = MemoryEventLog()
    for _ in range(4):
        append(log)
    consumer = follow(log, limits=bound(max_events=2), max_read_entries=1)
    parts = [consumer.read_chunk().parts[PARTITION] for _ in range(2)]
    assert [part.complete_at for part in parts] == [None, NOON + timedelta(seconds=2)]


def test_ends_that_a_backlog_has_not_reached_are_remembered_up_to_a_bound():
    log = MemoryEventLog()
    consumer = follow(log, limits=bound(max_events=1), max_read_entries=1)
    rounds = 2 * MAX_BARRIERS + 40  # one of two ends that are seen in a round waits for later ones
    for _ in range(rounds):
        append(log)
        append(log)
        consumer.read_chunk()
    parts = [consumer.read_chunk().parts[PARTITION].complete_at for _ in range(rounds)]
    promised = [at for at in parts if at is not None]
    assert parts[-1] is not None
    assert promised == sorted(promised)
    assert len(promised) <= MAX_BARRIERS + 1  # and the end of all


def test_entries_behind_the_bound_of_a_read_are_not_promised():
    log = MemoryEventLog()
    first, _ = append(log), append(log)
    chunk = follow(log, until=first).read_chunk()
    part = chunk.parts[PARTITION]
    assert (part.decoded.end, chunk.at_end, part.complete_at) == (first, True, None)


def test_a_log_that_ends_before_a_position_is_reported_with_the_position():
    log = MemoryEventLog()
    append(log)
    consumer = LogConsumer(log, {1: START, PARTITION: Position(2**50, 7)}, limits=NO_BOUND, max_read_entries=10)
    with pytest.raises(LogEndLost, match="partitions \\[3\\]") as caught:
        consumer.read_chunk()
    assert caught.value.positions == {PARTITION: Position(2**50, 7)}

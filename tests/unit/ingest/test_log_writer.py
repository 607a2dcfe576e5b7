"""Appends with a few attempts, a breaker, and a disk for when the log is away."""

import pytest

from tests.clock import Clock
from tests.unit.ingest.builders import FaultyLog, read_event_ids
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry, unpack_entries
from viewcounter.eventlog.errors import EntryRefused, EventLogError, EventLogFull
from viewcounter.eventlog.interface import START, AppendResult
from viewcounter.ingest.log_writer import DRAIN_SECONDS, REFUSED, GuardedLog
from viewcounter.ingest.spool import Spool

OPEN_SECONDS = 60.0


def make_id(number):
    return f"00000000-0000-4000-8000-{number:012x}"


def make_entry(number):
    return pack_entry([AcceptedEvent(bytes.fromhex(make_id(number).replace("-", "")), "v", 1, 2, 3)], received_us=1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_guarded(log, clock, tmp_path):
    made = []

    def make(*, attempts=1, has_spool=False):
        open_spool = (lambda: Spool(tmp_path, max_bytes=100_000)) if has_spool else None
        guarded = GuardedLog(
            lambda: log,
            attempts=attempts,
            append_seconds=5.0,
            breaker_open_seconds=OPEN_SECONDS,
            open_spool=open_spool,
            clock=clock,
        )
        made.append(guarded)
        return guarded

    yield make
    for guarded in made:
        guarded.close()


def break_log(log, error=None):
    log.failing = dict.fromkeys(range(8), error or EventLogError("away"))


class FailingTwice(FaultyLog):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def append(self, entries):
        self.calls += 1
        if self.calls <= 2:
            return AppendResult({}, dict.fromkeys(entries, EventLogError("blinked")))
        return super().append(entries)


def test_a_log_that_blinks_is_asked_again_and_its_client_never_knows():
    log = FailingTwice()
    guarded = GuardedLog(lambda: log, attempts=3, append_seconds=5.0, breaker_open_seconds=OPEN_SECONDS)
    assert set(guarded.append({0: make_entry(1)}).positions) == {0}
    assert log.calls == 3


def test_attempts_end_when_their_time_is_over():
    log = FailingTwice()
    guarded = GuardedLog(lambda: log, attempts=3, append_seconds=1e-9, breaker_open_seconds=OPEN_SECONDS)
    assert set(guarded.append({0: make_entry(1)}).failed) == {0}
    assert log.calls == 1


def test_only_the_partitions_that_failed_are_appended_again(log, make_guarded):
    log.failing = {1: EventLogError("away")}
    result = make_guarded(attempts=2).append({0: make_entry(1), 1: make_entry(2)})
    assert (set(result.positions), set(result.failed)) == ({0}, {1})
    assert log.append_sizes == [2, 1]


def test_a_log_that_failed_is_left_alone_and_refusals_come_at_once_with_its_reason(log, make_guarded):
    guarded = make_guarded()
    break_log(log, EventLogFull("full"))
    guarded.append({0: make_entry(1)})
    refused = guarded.append({3: make_entry(2)})
    assert log.append_sizes == [1]
    assert isinstance(refused.failed[3], EventLogFull)


def test_the_breaker_closes_by_itself_when_the_log_is_back(log, make_guarded, clock):
    guarded = make_guarded()
    break_log(log)
    guarded.append({0: make_entry(1)})
    log.failing = {}
    clock.advance(OPEN_SECONDS)
    assert set(guarded.append({0: make_entry(2)}).positions) == {0}
    assert set(guarded.append({0: make_entry(3)}).positions) == {0}


def test_while_the_log_is_away_events_are_kept_on_disk_and_follow_in_order(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True)
    break_log(log)
    for number in range(5):
        assert guarded.append({0: make_entry(number)}) == AppendResult({})
    log.failing = {}
    clock.advance(OPEN_SECONDS)
    guarded.append({0: make_entry(5)})
    assert read_event_ids(log) == [make_id(number) for number in range(6)]


def test_without_new_events_the_disk_is_emptied_too(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True)
    break_log(log)
    guarded.append({0: make_entry(1)})
    guarded.drain()
    assert read_event_ids(log) == []
    log.failing = {}
    clock.advance(OPEN_SECONDS)
    guarded.drain()
    assert read_event_ids(log) == [make_id(1)]


def test_new_events_wait_behind_a_disk_that_is_not_emptied_in_one_go(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True)
    break_log(log)
    for number in range(3):
        guarded.append({0: make_entry(number)})
    log.failing = {}
    clock.advance(OPEN_SECONDS)
    append = log.append

    def append_slowly(entries):
        clock.advance(DRAIN_SECONDS)
        return append(entries)

    log.append = append_slowly
    assert guarded.append({0: make_entry(3)}) == AppendResult({})
    guarded.drain()
    assert read_event_ids(log) == [make_id(number) for number in range(4)]


def test_what_was_kept_survives_the_process_and_goes_before_anything_new(log, make_guarded):
    first = make_guarded(has_spool=True)
    break_log(log)
    first.append({0: make_entry(1)})
    first.close()
    log.failing = {}
    second = make_guarded(has_spool=True)
    second.append({0: make_entry(2)})
    assert read_event_ids(log) == [make_id(1), make_id(2)]


def test_a_partition_that_failed_alone_is_kept_and_later_events_queue_behind_it(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True)
    log.failing = {1: EventLogError("away")}
    assert set(guarded.append({0: make_entry(1), 1: make_entry(2)}).positions) == {0}
    assert guarded.append({1: make_entry(3)}) == AppendResult({})
    log.failing = {}
    clock.advance(OPEN_SECONDS)
    guarded.drain()
    assert read_event_ids(log, [1]) == [make_id(2), make_id(3)]


def test_what_the_log_refuses_of_a_partition_holds_up_nobody_else(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True, attempts=3)
    log.failing = {1: EntryRefused("WRONGTYPE")}
    result = guarded.append({0: make_entry(1), 1: make_entry(2)})
    assert (set(result.positions), result.failed) == ({0}, {})
    assert log.append_sizes == [2]  # another attempt would be refused as well
    assert set(guarded.append({0: make_entry(3)}).positions) == {0}
    assert guarded.append({1: make_entry(4)}) == AppendResult({})  # behind what is refused
    for _ in range(5):
        guarded.drain()
    assert log.append_sizes == [2, 1]
    clock.advance(REFUSED.first_seconds)
    guarded.drain()
    assert log.append_sizes == [2, 1, 1]
    log.failing = {}
    clock.advance(2 * REFUSED.first_seconds)
    guarded.drain()
    assert read_event_ids(log, [1]) == [make_id(2), make_id(4)]
    assert set(guarded.append({1: make_entry(5)}).positions) == {1}


def test_a_spooled_group_of_which_a_part_is_refused_is_appended_once(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True)
    break_log(log)
    guarded.append({0: make_entry(1), 1: make_entry(2)})
    guarded.append({0: make_entry(3), 2: make_entry(4)})
    log.failing = {1: EntryRefused("WRONGTYPE")}
    clock.advance(OPEN_SECONDS)
    for _ in range(4):
        guarded.drain()
        clock.advance(REFUSED.max_seconds)
    assert read_event_ids(log) == [make_id(1), make_id(3), make_id(4)]
    log.failing = {}
    guarded.drain()
    assert sorted(read_event_ids(log)) == [make_id(number) for number in range(1, 5)]


def test_what_is_refused_without_a_spool_is_refused_to_the_client(log, make_guarded):
    log.failing = {1: EntryRefused("WRONGTYPE")}
    result = make_guarded().append({0: make_entry(1), 1: make_entry(2)})
    assert (set(result.positions), set(result.failed)) == ({0}, {1})


def test_refused_entries_leave_the_breaker_closed(log, make_guarded):
    guarded = make_guarded()
    log.failing = {1: EntryRefused("WRONGTYPE")}
    for number in range(10):
        guarded.append({1: make_entry(number)})
    assert set(guarded.append({0: make_entry(11)}).positions) == {0}


def test_a_full_disk_refuses_as_if_there_were_none(log, tmp_path):
    guarded = GuardedLog(
        lambda: log,
        attempts=1,
        append_seconds=1.0,
        breaker_open_seconds=OPEN_SECONDS,
        open_spool=lambda: Spool(tmp_path, max_bytes=1),
    )
    break_log(log)
    assert set(guarded.append({0: make_entry(1)}).failed) == {0}
    guarded.close()


def read_links(log, partition):
    entries = log.read(partition, after=START, max_entries=99)
    links = unpack_entries([entry.payload for entry in entries]).links
    return [(links[number].producer, links[number].after) for number in range(len(entries))]


def test_each_entry_names_the_last_acknowledged_one_of_its_partition(log, make_guarded):
    guarded = make_guarded()
    first, other = guarded.append({0: make_entry(1)}), guarded.append({1: make_entry(2)})
    second = guarded.append({0: make_entry(3), 1: make_entry(4)})
    guarded.append({0: make_entry(5)})
    assert [after for _, after in read_links(log, 0)] == [START, first.positions[0], second.positions[0]]
    assert [after for _, after in read_links(log, 1)] == [START, other.positions[1]]
    assert len({producer for producer, _ in read_links(log, 0) + read_links(log, 1)}) == 1
    make_guarded().append({0: make_entry(6)})
    assert read_links(log, 0)[-1][1] == START
    assert len({producer for producer, _ in read_links(log, 0)}) == 2


def test_an_entry_that_was_spooled_is_linked_when_the_log_takes_it(log, make_guarded, clock):
    guarded = make_guarded(has_spool=True)
    first = guarded.append({0: make_entry(1)}).positions[0]
    break_log(log)
    guarded.append({0: make_entry(2)})
    log.failing = {}
    clock.advance(OPEN_SECONDS)
    guarded.drain()
    guarded.append({0: make_entry(3)})
    links = [after for _, after in read_links(log, 0)]
    assert links[:2] == [START, first]
    assert len(set(links)) == 3

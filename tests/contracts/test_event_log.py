"""What every event log promises, on every implementation."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.contracts.log_entries import append_all, pack, past, read_payloads
from tests.contracts.log_server import LogServer
from tests.pace import limit
from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import START, Entry, EventLog, LogIdentity, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.eventlog.redis_streams import RedisEventLog

TIMEOUT_SECONDS = 0.5
SHORT_SECONDS = 0.01


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServer]:
    server = LogServer(tmp_path_factory.mktemp("log"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["memory", "redis"])
def log(request: pytest.FixtureRequest) -> Iterator[EventLog]:
    if request.param == "memory":
        memory = MemoryEventLog()
        memory.open(LogIdentity("cluster:1", 1))
        yield memory
        return
    server: LogServer = request.getfixturevalue("shared_server")
    with server.connect() as client:
        client.flushall()
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS)
    streams.open(LogIdentity("cluster:1", 1))
    yield streams
    streams.close()


def test_entries_come_back_in_the_order_of_their_appends_with_growing_positions(log: EventLog) -> None:
    positions = append_all(log, 3, [b"one", b"two\x00\xff", b"three"])
    entries = log.read(3, after=START, max_entries=10)
    assert [entry.payload for entry in entries] == [b"one", b"two\x00\xff", b"three"]
    assert [entry.position for entry in entries] == positions == sorted(set(positions))


def test_positions_are_the_term_and_a_sequence_and_no_clock_is_in_them(log: EventLog) -> None:
    log.open(LogIdentity("cluster:1", 7))
    assert append_all(log, 0, [b"a", b"b"]) == [Position(7, 0), Position(7, 1)]
    log.open(LogIdentity("cluster:1", 8))
    assert append_all(log, 0, [b"c", b"d"]) == [Position(8, 0), Position(8, 1)]
    assert log.read_identity() == LogIdentity("cluster:1", 8)
    assert read_payloads(log, 0, after=Position(7, 0)) == [b"b", b"c", b"d"]
    assert log.barrier([0]) == {0: Position(8, 1)}


def test_one_append_writes_each_partition_named_and_no_other(log: EventLog) -> None:
    result = log.append({1: b"a", 2: b"b"})
    assert set(result.positions) == {1, 2}
    assert result.failed == {}
    assert [read_payloads(log, partition) for partition in (1, 2, 3)] == [[b"a"], [b"b"], []]


def test_floors_are_where_reading_begins_to_be_refused(log: EventLog) -> None:
    positions = append_all(log, 1, [b"a", b"b", b"c"])
    assert log.read_floors([1, 2]) == {1: START, 2: START}
    log.trim(1, through=positions[1])
    floor = log.read_floors([1])[1]
    assert floor == positions[1]
    assert [entry.payload for entry in log.read(1, after=floor, max_entries=9)] == [b"c"]
    with pytest.raises(PositionTrimmed):
        log.read(1, after=positions[0], max_entries=9)


def test_usage_grows_with_the_entries_and_shrinks_with_a_trim(log: EventLog) -> None:
    assert log.read_usage([1, 2]).partition_bytes == {1: 0, 2: 0}
    positions = append_all(log, 1, [bytes(50_000)] * 4)
    full = log.read_usage([1, 2])
    assert full.partition_bytes[1] >= 200_000
    assert (full.partition_bytes[2], full.max_bytes) == (0, None)
    assert full.used_bytes >= full.partition_bytes[1]
    log.trim(1, through=positions[2])
    assert 50_000 <= log.read_usage([1]).partition_bytes[1] < full.partition_bytes[1] / 2


def test_append_of_nothing_changes_nothing(log: EventLog) -> None:
    assert log.append({}).positions == {}


def test_read_is_exclusive_of_its_position_and_bounded_by_max_entries(log: EventLog) -> None:
    positions = append_all(log, 0, [b"a", b"b", b"c", b"d"])
    entries = log.read(0, after=positions[0], max_entries=2)
    assert [entry.payload for entry in entries] == [b"b", b"c"]
    assert log.read(0, after=positions[-1], max_entries=10) == []


def test_read_of_many_gives_each_partition_its_own_entries(log: EventLog) -> None:
    first = append_all(log, 0, [b"a", b"b", b"c", b"d"])
    second = append_all(log, 1, [b"e", b"f"])
    found = log.read_many({0: first[0], 1: START, 2: START, 3: Position(5, 5)}, max_entries=2)
    assert found == {
        0: [Entry(first[1], b"b"), Entry(first[2], b"c")],
        1: [Entry(second[0], b"e"), Entry(second[1], b"f")],
        2: [],
        3: [],
    }
    assert log.read_many({}, max_entries=2) == {}


def test_a_trimmed_partition_does_not_fail_the_read_of_the_others(log: EventLog) -> None:
    trimmed = append_all(log, 0, [b"a", b"b", b"c"])
    log.trim(0, through=trimmed[1])
    kept = append_all(log, 1, [b"d"])
    found = log.read_many({0: trimmed[0], 1: START}, max_entries=9)
    assert isinstance(found[0], PositionTrimmed)
    assert found[1] == [Entry(kept[0], b"d")]
    assert log.read_many({0: trimmed[1]}, max_entries=9) == {0: [Entry(trimmed[2], b"c")]}


def test_wait_ends_at_once_where_one_partition_has_an_entry(log: EventLog) -> None:
    ends = {0: append_all(log, 0, [b"a"])[0], 1: START, 2: START}
    assert log.wait(ends, timeout_seconds=SHORT_SECONDS) is False
    log.append({2: b"b"})
    assert log.wait(ends, timeout_seconds=limit(60)) is True
    assert log.wait({0: START}, timeout_seconds=limit(60)) is True


def test_wait_without_an_entry_past_a_position_is_false_at_its_timeout(log: EventLog) -> None:
    positions = append_all(log, 0, [b"a", b"b"])
    log.append({1: b"other"})
    assert log.wait({0: positions[1], 2: START}, timeout_seconds=SHORT_SECONDS) is False
    log.trim(0, through=positions[1])
    assert log.wait({0: START}, timeout_seconds=SHORT_SECONDS) is False
    assert log.wait({0: START}, timeout_seconds=0.0) is False
    assert log.wait({}, timeout_seconds=SHORT_SECONDS) is False


def test_threads_that_follow_by_waiting_alone_miss_no_entry(log: EventLog) -> None:
    """A wait that slept through an append would end by its timeout and give its thread away."""
    groups, rounds = [(0, 1), (2, 3), (4, 5)], 25
    entries: dict[int, list[bytes]] = {partition: [] for group in groups for partition in group}
    slept: list[tuple[int, ...]] = []

    def follow(group: tuple[int, ...]) -> None:
        after = dict.fromkeys(group, START)
        while sum(len(entries[partition]) for partition in group) < rounds:
            if not log.wait(after, timeout_seconds=limit(60)):
                slept.append(group)
                return
            for partition, found in log.read_many(after, max_entries=10).items():
                assert not isinstance(found, PositionTrimmed)
                entries[partition] += [entry.payload for entry in found]
                after[partition] = found[-1].position if found else after[partition]

    threads = [threading.Thread(target=follow, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for number in range(rounds):
        log.append({group[number % 2]: b"%d" % number for group in groups})
    for thread in threads:
        thread.join()
    assert slept == []
    for even, odd in groups:
        assert entries[even] == [b"%d" % number for number in range(0, rounds, 2)]
        assert entries[odd] == [b"%d" % number for number in range(1, rounds, 2)]


def test_barrier_lies_at_or_above_every_acknowledged_entry(log: EventLog) -> None:
    first = append_all(log, 0, [b"a", b"b"])[-1]
    assert log.barrier([0, 1]) == {0: first, 1: START}
    second = append_all(log, 1, [b"c"])[-1]
    log.trim(1, through=second)
    assert log.barrier([0, 1]) == {0: first, 1: second}


def test_tails_are_the_last_positions_and_start_where_nothing_was_written(log: EventLog) -> None:
    last = append_all(log, 5, [b"a", b"b"])[-1]
    before = datetime.now(UTC)
    tails = log.read_tails([5, 6])
    assert tails.positions == {5: last, 6: START}
    assert before - timedelta(seconds=1) <= tails.read_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert tails.read_at.tzinfo is UTC


def test_trim_forgets_through_its_position_and_keeps_the_rest(log: EventLog) -> None:
    positions = append_all(log, 0, [b"a", b"b", b"c"])
    assert log.trim(0, through=positions[1]) == 2
    assert log.trim(0, through=positions[1]) == 0
    assert read_payloads(log, 0, after=positions[1]) == [b"c"]


def test_read_from_before_what_was_trimmed_raises_instead_of_skipping(log: EventLog) -> None:
    positions = append_all(log, 0, [b"a", b"b", b"c"])
    log.trim(0, through=positions[1])
    for after in (START, positions[0]):
        with pytest.raises(PositionTrimmed):
            log.read(0, after=after, max_entries=10)


def test_an_earlier_trim_that_comes_late_does_not_hide_the_later_one(log: EventLog) -> None:
    positions = append_all(log, 0, [b"a", b"b", b"c"])
    log.trim(0, through=positions[1])
    assert log.trim(0, through=positions[0]) == 0
    with pytest.raises(PositionTrimmed):
        log.read(0, after=positions[0], max_entries=10)


def test_trim_past_the_end_forgets_all_but_keeps_the_tail(log: EventLog) -> None:
    last = append_all(log, 0, [b"a", b"b"])[-1]
    assert log.trim(0, through=past(last)) == 2
    assert log.read_tails([0]).positions == {0: last}
    assert log.read(0, after=last, max_entries=10) == []
    assert log.append({0: b"c"}).positions[0] > last
    assert read_payloads(log, 0, after=last) == [b"c"]


def test_trim_of_nothing_leaves_every_position_readable(log: EventLog) -> None:
    assert log.trim(0, through=START) == 0
    assert log.trim(0, through=Position(5, 5)) == 0
    assert read_payloads(log, 0) == []


def test_unread_counts_events_past_a_position_with_the_time_of_the_oldest(log: EventLog) -> None:
    positions = append_all(log, 0, [pack(3, received_us=10_000_001), pack(1), pack(5, received_us=2**53 - 1)])
    append_all(log, 1, [b"damaged"])
    unread = log.read_unread({0: START, 1: START, 2: START})
    assert unread.events == {0: 9, 1: 0, 2: 0}
    assert unread.oldest == {0: datetime(1970, 1, 1, 0, 0, 10, 1, tzinfo=UTC)}
    assert abs((unread.read_at - datetime.now(UTC)).total_seconds()) < 60
    for applied, events in zip(positions, (6, 5, 0), strict=True):
        assert log.read_unread({0: applied}).events == {0: events}
    assert log.read_unread({0: positions[1]}).oldest == {
        0: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=2**53 - 1)
    }
    assert log.read_unread({0: positions[2]}).oldest == {}


def test_unread_bytes_are_the_share_of_the_unread_events(log: EventLog) -> None:
    positions = append_all(log, 0, [pack(1000)] * 4)
    sizes = [log.read_unread({0: after}).bytes[0] for after in (START, *positions)]
    assert sizes[0] == pytest.approx(4 * len(pack(1000)), rel=0.3)
    assert sizes == pytest.approx([sizes[0] * share for share in (1, 0.75, 0.5, 0.25, 0)], abs=1)
    log.trim(0, through=positions[1])
    assert log.read_unread({0: positions[1]}).bytes[0] == pytest.approx(sizes[2], rel=0.3)
    assert log.read_unread({0: positions[3], 1: START}).bytes == {0: 0, 1: 0}


def test_unread_entries_without_events_have_a_size(log: EventLog) -> None:
    log.append({0: bytes(1000)})
    unread = log.read_unread({0: START})
    assert unread.events == {0: 0}
    assert unread.bytes[0] >= 1000


def test_unread_counts_exactly_when_what_was_read_is_trimmed(log: EventLog) -> None:
    applied = append_all(log, 0, [pack(3), pack(4)])[-1]
    log.trim(0, through=applied)
    assert log.read_unread({0: applied}).events == {0: 0}
    newer = append_all(log, 0, [pack(2), pack(6)])
    assert log.read_unread({0: applied}).events == {0: 8}
    assert log.read_unread({0: newer[0]}).events == {0: 6}


def test_concurrent_appends_lose_nothing_and_share_no_position(log: EventLog) -> None:
    positions: list[Position] = []

    def append_fifty(worker: int) -> None:
        for number in range(50):
            positions.append(log.append({0: b"%d-%d" % (worker, number)}).positions[0])

    threads = [threading.Thread(target=append_fifty, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    payloads = read_payloads(log, 0)
    assert len(set(positions)) == len(payloads) == 200
    for worker in range(4):
        mine = [payload for payload in payloads if payload.startswith(b"%d-" % worker)]
        assert mine == [b"%d-%d" % (worker, number) for number in range(50)]


def test_a_term_after_a_loss_begins_with_an_entry_that_says_so(log: EventLog) -> None:
    before = append_all(log, 0, [pack(3), pack(1)])
    later = LogIdentity("cluster:1", 2)
    assert log.open(later, replaces=LogIdentity("cluster:1", 1), lost={0: START, 1: START}) is True
    after = log.append({0: pack(2)}).positions[0]
    found = log.read_many({0: before[0], 1: START, 2: START}, max_entries=9)
    assert found == {
        0: [Entry(before[1], pack(1)), Entry(Position(2, 0), b"", lost_before=True), Entry(after, pack(2))],
        1: [Entry(Position(2, 0), b"", lost_before=True)],
        2: [],
    }
    assert log.barrier([0, 1, 2]) == {0: after, 1: Position(2, 0), 2: START}
    assert log.read_unread({0: before[0], 1: START}).events == {0: 3, 1: 0}
    assert log.session.identity == later


def test_a_term_begins_once_however_many_ask_for_it(log: EventLog) -> None:
    first = LogIdentity("cluster:1", 1)
    assert log.open(LogIdentity("cluster:1", 2), replaces=first, lost={0: START}) is True
    assert log.open(LogIdentity("cluster:1", 3), replaces=first, lost={0: START}) is False
    assert log.read_identity() == LogIdentity("cluster:1", 2)
    assert len(log.read(0, after=START, max_entries=9)) == 1


def test_calls_of_one_session_have_one_text(log: EventLog) -> None:
    session = log.session
    append_all(log, 0, [pack(1)])
    assert log.session == session
    log.open(LogIdentity("cluster:1", 2))
    assert log.session.text != session.text


def test_entries_at_or_below_an_applied_position_are_appended_again(log: EventLog) -> None:
    first = append_all(log, 0, [pack(3), pack(1), pack(2)])
    log.trim(0, through=first[0])
    log.open(LogIdentity("cluster:1", 2), lost={0: past(first[-1])})
    found = log.read(0, after=past(first[-1]), max_entries=9)
    assert [(entry.payload, entry.lost_before) for entry in found] == [(b"", True), (pack(1), False), (pack(2), False)]
    assert found[-1].position < log.append({0: pack(1)}).positions[0]
    assert log.read_unread({0: found[1].position}).events[0] >= 3


def test_a_reader_with_an_old_copy_of_floor_and_tail_is_told_of_a_trim(log: EventLog) -> None:
    """It knows of no trim: what it reads next must not look like the end of the log, nor like a gap without entries."""
    positions = append_all(log, 0, [b"a", b"b", b"c"])
    old_floor, old_tail = log.read_floors([0])[0], log.barrier([0])[0]
    log.trim(0, through=positions[2])
    later = append_all(log, 0, [b"d"])
    assert isinstance(log.read_many({0: old_floor}, max_entries=9)[0], PositionTrimmed)
    assert isinstance(log.read_many({0: positions[1]}, max_entries=9)[0], PositionTrimmed)
    assert log.read_many({0: old_tail}, max_entries=9) == {0: [Entry(later[0], b"d")]}
    assert (log.read_floors([0]), log.barrier([0])) == ({0: positions[2]}, {0: later[0]})


def test_a_wait_below_the_floor_ends_and_the_read_after_it_refuses(log: EventLog) -> None:
    positions = append_all(log, 0, [b"a", b"b", b"c"])
    log.trim(0, through=positions[1])
    assert log.wait({0: positions[0]}, timeout_seconds=limit(60)) is True
    with pytest.raises(PositionTrimmed):
        log.read(0, after=positions[0], max_entries=9)

"""Concurrent requests share appends; each learns exactly what became of its own events."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from tests.clock import Clock
from tests.unit.ingest.builders import FaultyLog, read_event_ids
from tests.waiting import wait_until_async
from viewcounter.eventlog.codec import AcceptedEvent, unpack_entry
from viewcounter.eventlog.errors import EventLogError, EventLogFull
from viewcounter.eventlog.interface import START, AppendResult
from viewcounter.ingest.errors import BufferFull
from viewcounter.ingest.group_commit import GroupCommit

CLOSE_SECONDS = 5.0


def run(log: FaultyLog, test: Callable[[GroupCommit], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def with_commit() -> None:
        commit = GroupCommit(
            log,
            **{
                "linger_seconds": 0.0,
                "max_events": 100,
                "buffer_max_events": 1000,
                "max_wait_seconds": 10.0,
                "entry_max_bytes": 256 * 1024,
                **settings,
            },
        )
        await test(commit)
        log.gate.set()
        await commit.close(timeout_seconds=CLOSE_SECONDS)

    asyncio.run(with_commit())


def one(number: int) -> AcceptedEvent:
    return AcceptedEvent(uuid.UUID(int=number).bytes, f"video-{number}", 1, 2, 3)


def submit(commit: GroupCommit, number: int, *, partition: int = 0) -> "asyncio.Future[AppendResult]":
    return commit.submit({partition: [one(number)]}, count=1)


def test_requests_that_come_during_an_append_share_the_next_one_in_order(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        outcomes = [submit(commit, number) for number in range(21)]
        log.gate.set()
        await asyncio.gather(*outcomes)

    run(log, test)
    assert log.append_sizes == [1, 20]
    assert read_event_ids(log) == [str(uuid.UUID(int=number)) for number in range(21)]


def test_requests_within_the_linger_share_one_append(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        outcomes = [submit(commit, number, partition=number % 3) for number in range(10)]
        results = await asyncio.gather(*outcomes)
        assert all(result is results[0] for result in results)
        assert set(results[0].positions) == {0, 1, 2}

    run(log, test, linger_seconds=0.02)
    assert log.append_sizes == [10]


def test_full_group_does_not_linger(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        outcomes = [submit(commit, number) for number in range(10)]
        await asyncio.wait_for(asyncio.gather(*outcomes), 5)

    run(log, test, linger_seconds=3600.0, max_events=5)
    assert log.append_sizes == [5, 5]


def test_group_is_never_larger_than_its_bound(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        outcomes = [commit.submit({0: [one(10 * number + n) for n in range(7)]}, count=7) for number in range(6)]
        log.gate.set()
        await asyncio.gather(*outcomes)

    run(log, test, max_events=20)
    assert log.append_sizes == [7, 14, 14, 7]


def test_buffer_bound_refuses_the_request_whole_and_lets_go_when_the_log_answers(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        first = commit.submit({0: [one(number) for number in range(8)]}, count=8)
        with pytest.raises(BufferFull):
            commit.submit({0: [one(100)], 1: [one(101), one(102)]}, count=3)
        second = commit.submit({1: [one(8), one(9)]}, count=2)
        log.gate.set()
        await asyncio.gather(first, second)
        await submit(commit, 10)

    run(log, test, buffer_max_events=10)
    assert sorted(read_event_ids(log)) == [str(uuid.UUID(int=number)) for number in range(11)]


def test_failed_partition_is_reported_beside_the_positions_of_the_others(log: FaultyLog) -> None:
    log.failing[1] = EventLogError("down")

    async def test(commit: GroupCommit) -> None:
        result = await commit.submit({0: [one(0)], 1: [one(1)]}, count=2)
        assert set(result.positions) == {0}
        assert result.failed == {1: log.failing[1]}

    run(log, test)


def test_failing_log_fails_its_requests_and_the_next_ones_try_again(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.failing[0] = EventLogFull("full")
        assert (await submit(commit, 0)).positions == {}
        log.failing.clear()
        assert set((await submit(commit, 1)).positions) == {0}

    run(log, test)
    assert read_event_ids(log) == [str(uuid.UUID(int=1))]


def test_one_line_is_logged_when_the_log_fails_and_one_when_it_recovers(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(commit: GroupCommit) -> None:
        log.failing[0] = EventLogError("down")
        for number in range(5):
            await submit(commit, number)
        log.failing.clear()
        for number in range(5):
            await submit(commit, number)

    run(log, test)
    assert [record.getMessage() for record in caplog.records] == [
        "the event log does not take events: down",
        "the event log takes events again (failed attempts: 5)",
    ]


def test_client_that_leaves_takes_no_events_of_others_with_it(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        leaving, staying = submit(commit, 0), submit(commit, 1)
        leaving.cancel()
        log.gate.set()
        assert set((await staying).positions) == {0}

    run(log, test)
    assert read_event_ids(log) == [str(uuid.UUID(int=0)), str(uuid.UUID(int=1))]


def test_append_that_breaks_off_is_an_error_for_its_requests_only(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        unpackable = AcceptedEvent(b"\0" * 16, "v", 1, 2**70, 0)
        with pytest.raises(Exception, match="out of range"):
            await commit.submit({0: [unpackable]}, count=1)
        assert set((await submit(commit, 1)).positions) == {0}

    run(log, test)


def test_close_waits_for_what_is_in_flight_and_what_lingers(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        outcomes = [submit(commit, number) for number in range(6)]  # the fifth fills a group: it is in flight
        closing = asyncio.ensure_future(commit.close(timeout_seconds=CLOSE_SECONDS))
        await asyncio.sleep(0)
        assert not closing.done()
        log.gate.set()
        await closing
        assert [set(outcome.result().positions) for outcome in outcomes] == [{0}] * 6

    run(log, test, linger_seconds=3600.0, max_events=5)
    assert len(read_event_ids(log)) == 6


def test_close_gives_up_on_a_log_that_does_not_answer_and_fails_what_has_not_begun(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        begun, waiting = submit(commit, 0), submit(commit, 1, partition=3)
        await commit.close(timeout_seconds=0.05)
        assert not begun.done()
        assert (waiting.result().positions, set(waiting.result().failed)) == ({}, {3})
        log.gate.set()
        await wait_until_async(begun.done)
        assert set(begun.result().positions) == {0}

    run(log, test)
    assert "stopping with 2 events the log has not confirmed" in caplog.text
    assert read_event_ids(log) == [str(uuid.UUID(int=0))]


def test_what_has_waited_too_long_is_refused_and_never_appended(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        log.gate.clear()
        first, second = submit(commit, 1), submit(commit, 2)
        clock.advance(10.0)
        log.gate.set()
        assert (await first).failed == {}
        assert set((await second).failed) == {0}
        assert commit.buffered_count == 0

    clock = Clock()
    run(log, test, max_wait_seconds=10.0, clock=clock)
    assert read_event_ids(log) == [str(uuid.UUID(int=1))]


def submit_many(commit: GroupCommit) -> "asyncio.Future[AppendResult]":
    """100 events of partition 0, one of partition 1."""
    return commit.submit({0: [one(number) for number in range(100)], 1: [one(100)]}, count=101)


def test_events_of_a_partition_become_several_entries_in_their_order(log: FaultyLog) -> None:
    async def test(commit: GroupCommit) -> None:
        result = await submit_many(commit)
        entries = log.read(0, after=START, max_entries=1000)
        assert len(entries) > 1
        assert all(len(entry.payload) <= 2048 for entry in entries)
        assert result.positions[0] == entries[-1].position
        assert result.failed == {}
        assert len(log.read(1, after=START, max_entries=10)) == 1
        ids = [bytes(event_id) for entry in entries for event_id in unpack_entry(entry.payload).event_ids.tolist()]
        assert [event_id.rjust(16, b"\0") for event_id in ids] == [uuid.UUID(int=n).bytes for n in range(100)]

    run(log, test, entry_max_bytes=2048)


class FailingSecond(FaultyLog):
    """From the second append on, `reply` is the answer for partition 0, and nothing is stored."""

    reply = AppendResult({})

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        return self.reply if self.append_sizes else super().append(entries)


def test_a_later_entry_that_fails_fails_its_partition_and_no_other() -> None:
    log = FailingSecond()
    log.reply = AppendResult({}, {0: EventLogFull("full")})

    async def test(commit: GroupCommit) -> None:
        result = await submit_many(commit)
        assert set(result.positions) == {1}
        assert set(result.failed) == {0}
        assert len(log.read(0, after=START, max_entries=10)) == 1  # none after the one that failed

    run(log, test, entry_max_bytes=2048)


def test_a_later_entry_that_is_spooled_leaves_its_partition_without_position() -> None:
    log = FailingSecond()

    async def test(commit: GroupCommit) -> None:
        result = await submit_many(commit)
        assert (set(result.positions), result.failed) == ({1}, {})

    run(log, test, entry_max_bytes=2048)

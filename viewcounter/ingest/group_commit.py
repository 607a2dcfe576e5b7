"""Group commit: the events of concurrent requests share one append to the log.

An append costs an fsync however much is in it, so requests wait a few milliseconds for others. One append is
in flight at a time, on the one thread of its own: that keeps the order of a partition, keeps the event loop
free, and lets the next group gather meanwhile.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from runtime.metrics import APPEND_FAILURES, APPEND_SECONDS
from runtime.transitions import OutageLog
from viewcounter.eventlog.codec import AcceptedEvent, pack_entries
from viewcounter.eventlog.errors import EventLogError, EventLogUnavailable
from viewcounter.eventlog.interface import AppendResult, Position
from viewcounter.ingest.errors import BufferFull

logger = logging.getLogger(__name__)

EventsByPartition = dict[int, list[AcceptedEvent]]


class Appender(Protocol):
    """Appends a group. Blocks until it is durable or has failed."""

    def append(self, entries: Mapping[int, bytes]) -> AppendResult: ...


@dataclass(frozen=True, slots=True)
class _Submission:
    """`waits_until` is on the clock of the GroupCommit."""

    events: EventsByPartition
    count: int
    waits_until: float
    outcome: "asyncio.Future[AppendResult]"


class GroupCommit:
    """Lives on one event loop; every method is called there.

    Invariant: `_buffered_count` is the number of events whose outcome is not known yet, waiting or in flight.
    """

    def __init__(
        self,
        log: Appender,
        *,
        linger_seconds: float,
        max_events: int,
        buffer_max_events: int,
        max_wait_seconds: float,
        entry_max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._clock = clock
        self._max_wait_seconds = max_wait_seconds
        self._linger_seconds = linger_seconds
        self._max_events = max_events
        self._entry_max_bytes = entry_max_bytes
        self._buffer_max_events = buffer_max_events
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-append")
        self._waiting: deque[_Submission] = deque()
        self._waiting_count = 0
        self._waiting_since = 0.0
        self._buffered_count = 0
        self._in_flight = False
        self._outage = OutageLog(
            logger,
            failed="the event log does not take events",
            recovered="the event log takes events again",
            level=logging.ERROR,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    def submit(self, events: EventsByPartition, *, count: int) -> "asyncio.Future[AppendResult]":
        """The result of the append that includes these `count` events; it may name partitions of other requests, too.

        Raises BufferFull, having taken nothing. A caller that goes away may cancel its future; the events of
        its request are appended all the same.
        """
        if self._buffered_count + count > self._buffer_max_events:
            raise BufferFull(f"{self._buffered_count} events wait for the log")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[AppendResult] = loop.create_future()
        if not self._waiting:
            self._waiting_since = self._clock()
        self._waiting.append(_Submission(events, count, self._clock() + self._max_wait_seconds, outcome))
        self._waiting_count += count
        self._buffered_count += count
        self._schedule(loop)
        return outcome

    @property
    def buffered_count(self) -> int:
        return self._buffered_count

    async def close(self, *, timeout_seconds: float) -> None:
        """Append all waiting events, without lingering, and stop. Events whose append has not begun by then fail."""
        self._linger_seconds = 0.0
        loop = asyncio.get_running_loop()
        if self._buffered_count:
            self._drained = loop.create_future()
            self._cancel_timer()
            self._schedule(loop)
            try:
                await asyncio.wait_for(self._drained, timeout_seconds)
            except TimeoutError:
                logger.error("stopping with %d events the log has not confirmed", self._buffered_count)
                self._abandon_waiting()
        self._executor.shutdown(wait=False)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start an append now or at the end of the linger, unless one is in flight or already scheduled."""
        if self._in_flight or not self._waiting:
            return
        wait_seconds = self._waiting_since + self._linger_seconds - self._clock()
        if wait_seconds <= 0 or self._waiting_count >= self._max_events:
            self._cancel_timer()
            self._start(loop)
        elif self._timer is None:
            self._timer = loop.call_later(wait_seconds, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._refuse_overdue(self._clock())
        if not self._waiting:
            return
        group = self._take_group()
        self._in_flight = True
        started_at = self._clock()
        received_us = time.time_ns() // 1000
        batches = [submission.events for submission in group]
        append = loop.run_in_executor(
            self._executor, append_group, self._log, batches, received_us, self._entry_max_bytes
        )
        append.add_done_callback(lambda done: self._finish(loop, group, done, started_at=started_at))

    def _take_group(self) -> list[_Submission]:
        """At least one request, and more while they fit into `max_events`."""
        group = [self._waiting.popleft()]
        count = group[0].count
        while self._waiting and count + self._waiting[0].count <= self._max_events:
            group.append(self._waiting.popleft())
            count += group[-1].count
        self._waiting_count -= count
        self._waiting_since = self._clock()
        return group

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[_Submission],
        append: "asyncio.Future[AppendResult]",
        *,
        started_at: float,
    ) -> None:
        self._in_flight = False
        APPEND_SECONDS.observe(self._clock() - started_at)
        error = append.exception()
        self._report([error] if error is not None else list(append.result().failed.values()))
        for submission in group:
            self._buffered_count -= submission.count
            if submission.outcome.done():  # its client has disconnected
                continue
            if error is not None:
                submission.outcome.set_exception(error)
            else:
                submission.outcome.set_result(append.result())
        if self._drained is not None and not self._buffered_count and not self._drained.done():
            self._drained.set_result(None)
        self._schedule(loop)

    def _refuse_overdue(self, now: float) -> None:
        """Refuse requests that have waited too long; none of their events is stored."""
        while self._waiting and self._waiting[0].waits_until <= now:
            self._refuse_first("the log is too slow: the events were not appended in time")

    def _abandon_waiting(self) -> None:
        while self._waiting:
            self._refuse_first("the gateway stops and the log did not answer in time")

    def _refuse_first(self, reason: str) -> None:
        submission = self._waiting.popleft()
        self._waiting_count -= submission.count
        self._buffered_count -= submission.count
        if not submission.outcome.done():
            failed: dict[int, EventLogError] = dict.fromkeys(submission.events, EventLogUnavailable(reason))
            submission.outcome.set_result(AppendResult({}, failed))

    def _report(self, errors: Sequence[BaseException]) -> None:
        if errors:
            APPEND_FAILURES.inc()
            self._outage.report_failure(errors[0])
        else:
            self._outage.report_success()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def append_group(
    log: Appender, batches: Sequence[EventsByPartition], received_us: int, entry_max_bytes: int
) -> AppendResult:
    """Merge requests in their order, pack one entry per partition, append all entries at once.

    A partition with more events than an entry holds gets further entries, one in each further append, and none after
    one that failed. Its position is that of its last entry. Each partition has its own outcome.
    """
    merged: EventsByPartition = {}
    for batch in batches:
        for partition, events in batch.items():
            merged.setdefault(partition, []).extend(events)
    packed = {
        p: pack_entries(events, received_us=received_us, max_bytes=entry_max_bytes) for p, events in merged.items()
    }
    positions: dict[int, Position] = {}
    failed: dict[int, EventLogError] = {}
    spooled: set[int] = set()
    for number in range(max(map(len, packed.values()), default=0)):
        entries = {p: parts[number] for p, parts in packed.items() if number < len(parts) and p not in failed}
        if not entries:
            break
        result = log.append(entries)
        failed |= result.failed
        spooled |= entries.keys() - result.positions.keys() - result.failed.keys()
        positions |= result.positions
    return AppendResult({p: at for p, at in positions.items() if p not in failed and p not in spooled}, failed)

"""Appends to the event log with retries and a circuit breaker, and spools to disk while the log is unavailable.

Order of a partition: while the spool has groups, new groups go behind them, and the spool is drained oldest first. An
entry that the log refuses while it takes those of other partitions is set aside and retried by itself; new entries of
that partition go behind it, and no other partition waits.

Each entry is linked when it is appended: it names this process, and where its last acknowledged entry of the partition
stands. So a reader notices if the log has lost that one.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from runtime.backoff import Backoff
from runtime.breaker import Breaker, BreakerEvent, BreakerState
from runtime.metrics import EVENTS_SPOOLED, LOG_BREAKERS_OPEN, SPOOL_REFUSED_PARTITIONS, SPOOLED_BYTES
from viewcounter.eventlog.codec import EntryLink, get_event_count, link_entry
from viewcounter.eventlog.errors import EntryRefused, EventLogError, EventLogUnavailable, LogUnfit
from viewcounter.eventlog.interface import START, AppendResult, EventLog, Position
from viewcounter.ingest.spool import Spool

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 0.05
"""Maximum time that an append first drains the spool; its own clients wait meanwhile."""
PRODUCER_BITS = 63
FIRST_RETRY_SECONDS = 0.02
REFUSED = Backoff(first_seconds=1.0, max_seconds=60.0, jitter=0.5)
"""Pauses between the attempts to append a refused entry."""


class _Retry(NamedTuple):
    """Time of the next attempt for a partition, after this many refusals in a row."""

    at: float
    refusals: int


class GuardedLog:
    """Thread-safe. Nothing is opened before `open` or the first append, so it may be created before a fork.

    `append` never raises: each partition is durable in the log (with a position), durable on this disk (without), or
    failed.
    """

    def __init__(
        self,
        get_log: Callable[[], EventLog],
        *,
        attempts: int,
        append_seconds: float,
        breaker_open_seconds: float,
        open_spool: Callable[[], Spool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`append_seconds`: no further attempt begins after this."""
        self._get_log = get_log
        self._clock = clock
        self._attempts = attempts
        self._append_seconds = append_seconds
        self._backoff = Backoff(FIRST_RETRY_SECONDS, append_seconds)
        self._breaker = Breaker(open_seconds=breaker_open_seconds)
        self._last_error: EventLogError = EventLogUnavailable("the event log has not been used yet")
        self._open_spool = open_spool
        self._spool: Spool | None = None
        self._retries: dict[int, _Retry] = {}
        self._producer: int | None = None
        self._acknowledged: dict[int, Position] = {}
        # Held through appends and drains: the order in which they get the lock is the order of the log.
        self._turn = threading.Lock()

    def open(self) -> None:
        """Open the spool of an earlier process. Raises OSError when the spool directory cannot be used."""
        with self._turn:
            self._find_spool()

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        with self._turn:
            spool = self._find_spool()
            if spool is None:
                return self._try_append(entries)
            # `behind`: entries of partitions with refused entries go behind those. Others go behind the spooled groups.
            behind = {partition for partition in spool.refused_partitions if partition in entries}
            others = {p: payload for p, payload in entries.items() if p not in behind}
            if not others or self._empty(spool):
                result = self._try_append(others)
            else:
                result = AppendResult({}, dict.fromkeys(others, self._last_error))
            refused = find_refused(result)
            self._report_refused(refused)
            failed = result.failed | dict.fromkeys(behind, self._last_error)
            return self._keep(spool, entries, AppendResult(result.positions, failed), aside=behind | refused.keys())

    def drain(self) -> None:
        """Append spooled groups to the log while it takes them. Appends get the lock in between."""
        is_moving = True
        while is_moving:
            with self._turn:
                spool = self._find_spool()
                if spool is None:
                    return
                spool.adopt_orphans()
                self._offer_refused(spool)
                is_moving = self._move(spool) > 0

    def close(self) -> None:
        with self._turn:
            if self._spool is not None:
                self._spool.close()
                self._spool = None
                self._open_spool = None

    def _find_spool(self) -> Spool | None:
        if self._spool is None and self._open_spool is not None:
            self._spool = self._open_spool()
        return self._spool

    def _empty(self, spool: Spool) -> bool:
        """Whether the spool is empty, after draining it for a moment."""
        try:
            self._move(spool)
            return spool.find_oldest() is None
        except OSError:
            logger.exception("the spool cannot be read")
            return False

    def _move(self, spool: Spool) -> int:
        """Drain the spool for DRAIN_SECONDS at most; returns the number of appended groups. Raises OSError."""
        deadline_at = self._clock() + DRAIN_SECONDS
        moved = 0
        while self._clock() < deadline_at and (group := spool.find_oldest()) is not None:
            behind = group.keys() & set(spool.refused_partitions)
            result = self._try_append({p: payload for p, payload in group.items() if p not in behind})
            spool.drop_from_oldest(set(result.positions))
            refused = find_refused(result)
            self._report_refused(refused)
            for partition in behind | refused.keys():
                spool.set_aside(partition)
            if result.failed.keys() - refused.keys():
                break
            moved += 1
        self._show(spool)
        return moved

    def _offer_refused(self, spool: Spool) -> None:
        """Retry refused entries, with increasing pauses. Raises OSError."""
        for partition in spool.refused_partitions:
            while (payload := spool.find_refused(partition)) is not None and self._is_due(partition):
                result = self._try_append({partition: payload})
                if partition not in result.positions:
                    self._report_refused(find_refused(result))
                    break
                spool.drop_refused(partition)
            if payload is None:
                self._retries.pop(partition, None)
                logger.warning("the event log takes entries of partition %d again", partition)

    def _is_due(self, partition: int) -> bool:
        return self._clock() >= self._retries.get(partition, _Retry(0.0, 0)).at

    def _report_refused(self, failed: Mapping[int, EventLogError]) -> None:
        for partition, error in failed.items():
            last = self._retries.get(partition)
            refusals = 1 if last is None else last.refusals + 1
            self._retries[partition] = _Retry(self._clock() + REFUSED.compute_seconds(refusals), refusals)
            if last is None:
                logger.error(
                    "the event log refuses entries of partition %d, which are kept on this gateway's disk: %s",
                    partition,
                    error,
                )

    def _show(self, spool: Spool) -> None:
        SPOOLED_BYTES.set(spool.size_bytes)
        SPOOL_REFUSED_PARTITIONS.set(len(spool.refused_partitions))

    def _keep(
        self, spool: Spool, entries: Mapping[int, bytes], result: AppendResult, *, aside: Collection[int]
    ) -> AppendResult:
        """Spool failed entries, those of `aside` in queues of their own. Entries that cannot be spooled stay failed."""
        if not result.failed:
            return result
        waiting = {partition: entries[partition] for partition in result.failed if partition not in aside}
        kept: set[int] = set()
        try:
            if waiting:
                spool.append(waiting)
                kept |= waiting.keys()
            for partition in aside:
                spool.append_refused(partition, entries[partition])
                kept.add(partition)
        except OSError as error:
            logger.error("cannot spool events: %s", error)
        EVENTS_SPOOLED.inc(sum(get_event_count(entries[partition]) for partition in kept))
        self._show(spool)
        return AppendResult(result.positions, {p: error for p, error in result.failed.items() if p not in kept})

    def _try_append(self, entries: Mapping[int, bytes]) -> AppendResult:
        """Retry with full jitter. No attempt while the breaker is open, a single one while it is half-open. Refused
        entries are not retried here."""
        if not entries:
            return AppendResult({})
        started_at = self._clock()
        attempts = self._attempts if self._breaker.state is BreakerState.CLOSED else 1
        if not self._breaker.try_pass(now=started_at):
            return AppendResult({}, dict.fromkeys(entries, self._last_error))
        positions: dict[int, Position] = {}
        refused: dict[int, EventLogError] = {}
        failed: dict[int, EventLogError] = {}
        left = {partition: self._link(partition, payload) for partition, payload in entries.items()}
        for attempt in range(attempts):
            result = self._get_log().append(left)
            positions |= result.positions
            refused |= find_refused(result)
            failed = {partition: error for partition, error in result.failed.items() if partition not in refused}
            if not failed:
                break
            left = {partition: left[partition] for partition in failed}
            pause = self._backoff.compute_seconds(attempt + 1)
            is_out_of_time = self._clock() + pause >= started_at + self._append_seconds
            is_futile = any(isinstance(error, LogUnfit) for error in failed.values())
            if is_futile or is_out_of_time or attempt + 1 == attempts:
                break
            time.sleep(pause)
        self._acknowledged |= positions
        self._report(None if positions or refused else next(iter(failed.values())))
        return AppendResult(positions, failed | refused)

    def _link(self, partition: int, payload: bytes) -> bytes:
        if self._producer is None:  # not before a fork: each process has its own
            self._producer = secrets.randbits(PRODUCER_BITS)
        return link_entry(payload, EntryLink(self._producer, self._acknowledged.get(partition, START)))

    def _report(self, error: EventLogError | None) -> None:
        """An append that stored an entry, or whose entries were refused, shows that the log answers."""
        event = BreakerEvent.SUCCESS if error is None else BreakerEvent.FAILURE
        self._last_error = error or self._last_error
        before = self._breaker.report(event, now=self._clock())
        if (before is BreakerState.CLOSED) != (error is None):
            LOG_BREAKERS_OPEN.set(0 if error is None else 1)


def find_refused(result: AppendResult) -> dict[int, EventLogError]:
    """Entries that the log refused, by partition."""
    return {partition: error for partition, error in result.failed.items() if isinstance(error, EntryRefused)}

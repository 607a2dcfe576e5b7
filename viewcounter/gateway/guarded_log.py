"""The event log as the gateway appends to it: a few attempts, a circuit breaker, and a disk for when it is away.

Order of a partition: while anything lies in the spool, new groups go behind it, and the spool leaves oldest first.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping

from shardproxy.breaker import Breaker, BreakerEvent, BreakerState
from viewcounter.eventlog.codec import get_event_count
from viewcounter.eventlog.errors import EventLogError, LogUnfit
from viewcounter.eventlog.interface import AppendResult, EventLog, Position
from viewcounter.gateway.spool import Spool
from viewcounter.metrics import EVENTS_SPOOLED, LOG_BREAKERS_OPEN, SPOOLED_BYTES

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.02
DRAIN_SECONDS = 0.05
"""How long an append may first empty the spool: longer, and its own clients would wait for the events of others."""


class GuardedLog:
    """Thread-safe; nothing is opened before `open` or the first append, so it may be made before a fork.

    `append` never raises: it answers for each partition, durable in the log (with a position), durable on this disk
    (without), or failed.
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
        self._breaker = Breaker(open_seconds=breaker_open_seconds)
        self._last_error = EventLogError("the event log has not been asked yet")
        self._open_spool = open_spool
        self._spool: Spool | None = None
        self._random = random.Random()  # noqa: S311 - jitter
        # Held through appends and drains: the order of the log is the order in which they get it.
        self._turn = threading.Lock()

    def open(self) -> None:
        """Find what was left on the disk. Raises OSError when the spool directory cannot be used."""
        with self._turn:
            self._find_spool()

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        with self._turn:
            spool = self._find_spool()
            if spool is not None and not self._empty(spool):
                result = AppendResult({}, dict.fromkeys(entries, self._last_error))
            else:
                result = self._try_append(entries)
            return result if spool is None or not result.failed else self._keep(spool, entries, result)

    def drain(self) -> None:
        """Move what lies on the disk into the log, if it takes it. Appends have their turn in between."""
        is_moving = True
        while is_moving:
            with self._turn:
                spool = self._find_spool()
                if spool is None:
                    return
                spool.adopt_orphans()
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
        """Whether the spool is empty, after moving a little."""
        self._move(spool)
        return spool.find_oldest() is None

    def _move(self, spool: Spool) -> int:
        """For a moment, as long as the log takes it; returns how many groups have moved."""
        deadline_at = self._clock() + DRAIN_SECONDS
        moved = 0
        while self._clock() < deadline_at and (group := spool.find_oldest()) is not None:
            if self._try_append(group).failed:
                break
            spool.remove_oldest()
            moved += 1
        SPOOLED_BYTES.set(spool.size_bytes)
        return moved

    def _keep(self, spool: Spool, entries: Mapping[int, bytes], result: AppendResult) -> AppendResult:
        try:
            spool.append({partition: entries[partition] for partition in result.failed})
        except OSError as error:
            logger.error("cannot spool events: %s", error)
            return result
        EVENTS_SPOOLED.inc(sum(get_event_count(entries[partition]) for partition in result.failed))
        SPOOLED_BYTES.set(spool.size_bytes)
        return AppendResult(result.positions)

    def _try_append(self, entries: Mapping[int, bytes]) -> AppendResult:
        """Full jitter between attempts. While the breaker is open no attempt is made, and half-open a single one."""
        started_at = self._clock()
        attempts = self._attempts if self._breaker.state is BreakerState.CLOSED else 1
        if not self._breaker.try_pass(now=started_at):
            return AppendResult({}, dict.fromkeys(entries, self._last_error))
        positions: dict[int, Position] = {}
        failed: dict[int, EventLogError] = {}
        left = dict(entries)
        for attempt in range(attempts):
            result = self._get_log().append(left)
            positions |= result.positions
            failed = result.failed
            left = {partition: entries[partition] for partition in failed}
            pause = self._random.uniform(0, FIRST_BACKOFF_SECONDS * 2**attempt)
            is_out_of_time = self._clock() + pause >= started_at + self._append_seconds
            is_futile = any(isinstance(error, LogUnfit) for error in failed.values())
            if not left or is_futile or is_out_of_time or attempt + 1 == attempts:
                break
            time.sleep(pause)
        self._report(None if positions else next(iter(failed.values())))
        return AppendResult(positions, failed)

    def _report(self, error: EventLogError | None) -> None:
        """An append that stored something shows that the log answers."""
        event = BreakerEvent.SUCCESS if error is None else BreakerEvent.FAILURE
        self._last_error = error or self._last_error
        before = self._breaker.report(event, now=self._clock())
        if (before is BreakerState.CLOSED) != (error is None):
            LOG_BREAKERS_OPEN.set(0 if error is None else 1)

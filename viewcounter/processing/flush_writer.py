"""Pipelines the flushes of a drain: one commits while the drain reads and de-duplicates the next.

A flush without another one before or after it is written by the drain's own thread: no hand-over.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeout
from dataclasses import dataclass, field
from enum import StrEnum

from viewcounter.processing.batch import PreparedBatch

WATCH_SECONDS = 1.0

JointBatch = tuple[PreparedBatch, ...]
"""The batches of one flush: of different partitions of one shard, in ascending order."""


class LeftOut(StrEnum):
    """Why a partition of a joint flush was not flushed."""

    BUSY = "busy"
    """Another transaction has its row locked, or has moved it."""
    REFUSED = "refused"
    """The shard refuses its events, or they are too many dead letters."""
    NOT_OWNED = "not_owned"
    """Its row does not say that this shard owns it at the topology's epoch."""
    TRIMMED = "trimmed"
    """The log no longer reaches back to its position."""


@dataclass(frozen=True, slots=True)
class Written:
    """A committed flush: `batches` are the submitted ones without those `left_out`, by partition.

    `is_unchanged` False: some were left out, or replaced by a batch without the events that the shard refuses.
    """

    batches: JointBatch
    is_unchanged: bool
    left_out: Mapping[int, LeftOut] = field(default_factory=dict)


Write = Callable[[JointBatch], Written]


class FlushWriter:
    """Writes the flushes of one drain by `thread`, which has one worker, in the order of the log. Used by one thread.

    Invariant: once one of them has not committed unchanged, none after it is written. At most one is being written and
    `max_queued` wait; a further `submit` waits, and the log is not read meanwhile.
    """

    def __init__(
        self,
        write: Write,
        thread: ThreadPoolExecutor,
        *,
        max_queued: int,
        on_written: Callable[[Written], None],
        watch: Callable[[], None],
    ) -> None:
        """Both callbacks run in the thread that submits: `on_written` for each committed flush, in order, and `watch`
        about every WATCH_SECONDS while it waits for a commit."""
        self._write = write
        self._thread = thread
        self._max_queued = max_queued
        self._on_written = on_written
        self._watch = watch
        self._is_broken = False  # set by either thread, never reset
        self._pending: deque[Future[Written]] = deque()

    def submit(self, joint: JointBatch, *, is_last: bool) -> None:
        """Raises the error of the oldest failed flush, after `on_written` for those before it."""
        if is_last and not self._pending:
            self._on_written(self._write_next(joint))
            return
        self._pending.append(self._thread.submit(self._write_next, joint))
        self._collect(until_pending=self._max_queued + 1)

    def settle(self) -> None:
        """Waits for all. Raises as `submit`."""
        self._collect(until_pending=0)

    def drop_queued(self) -> bool:
        """Drops the flushes that are not being written. Returns whether there were any; `settle` waits for the rest."""
        pending_count = len(self._pending)
        while self._pending and self._pending[-1].cancel():
            self._pending.pop()
        return len(self._pending) < pending_count

    def abandon(self) -> None:
        """As `drop_queued`, without waiting for the flush that is being written: it may still commit."""
        self._is_broken = True
        self.drop_queued()
        self._pending.clear()

    def _collect(self, *, until_pending: int) -> None:
        while self._pending and (len(self._pending) > until_pending or self._pending[0].done()):
            written = self._wait(self._pending[0])
            self._pending.popleft()
            self._on_written(written)

    def _wait(self, future: "Future[Written]") -> Written:
        while True:
            try:
                return future.result(timeout=WATCH_SECONDS)
            except WaitTimeout:
                if future.done():
                    raise
                self._watch()

    def _write_next(self, joint: JointBatch) -> Written:
        """In either thread."""
        if self._is_broken:
            raise CancelledError
        try:
            written = self._write(joint)
        except BaseException:
            self._is_broken = True
            raise
        if not written.is_unchanged:
            self._is_broken = True
        return written

"""What to do with a flush that will never pass as it is: find the bad events, or stop the partition.

A flush that the shard refuses for its data is tried in halves, inside one transaction that is rolled back, until
the events that cannot be stored stand alone. The flush without them, and with them as dead letters, passes the same
transaction before it is handed back. Where the fault is not in the events, or there are too many of them, the
partition stops: its position stays, nothing becomes a dead letter, and an operator looks.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shardproxy.errors import BadStatement
from shardproxy.instance import RowConnection
from shardproxy.query import QueryClass
from viewcounter.deadletters.bisection import BatchRefusal, Rows, TooManyRefused, find_refused, pick_probes
from viewcounter.deadletters.parts import remove_events, select_events
from viewcounter.deadletters.poison import Refused
from viewcounter.processing.batch import PreparedBatch
from viewcounter.processing.errors import PartitionStopped
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.storage.dead_letter_limits import (
    DeadLetterLimits,
    StopReason,
    get_most_dead,
    lock_window,
    stop_partition,
)
from viewcounter.storage.errors import TooManyDeadLetters
from viewcounter.storage.flush import FlushBatch, advance_position, apply_flush
from viewcounter.storage.savepoint import try_batch

logger = logging.getLogger(__name__)

PROBES = 8
"""Single events tried first, evenly spread: when each is refused, the fault is hardly in the events."""

PROOF_SECONDS = 15.0
"""After the search the whole flush is tried once more, in the same transaction."""


@dataclass(frozen=True, slots=True)
class IsolationSettings:
    """`max_seconds` and `max_trials` bound one search; past either the partition stops."""

    limits: DeadLetterLimits
    max_seconds: float
    max_trials: int


class _BoundReached(Exception):
    """The search took more trials or time than it may."""


class _TrialsOver(Exception):
    """Carries the result out of the transaction of the trials, which it rolls back."""

    def __init__(self, replacement: PreparedBatch) -> None:
        super().__init__()
        self.replacement = replacement


class PoisonIsolator:
    """A PoisonHandler. Keeps nothing between calls; `renew` is called before every trial: the drain is alive."""

    def __init__(
        self,
        *,
        cluster: PartitionAccess,
        settings: IsolationSettings,
        renew: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._renew = renew
        self._clock = clock

    def isolate(self, prepared: PreparedBatch, error: Refused) -> PreparedBatch:
        """A batch for the same range that the shard takes; the caller applies it.

        Raises PartitionStopped, having stopped it; PositionMoved; and the shard's Retryable errors.
        """
        if isinstance(error, TooManyDeadLetters):
            raise self._stop(prepared.batch, StopReason(error.reason), error.detail) from error
        try:
            replacement = self._find_replacement(prepared)
        except TooManyDeadLetters as too_many:
            raise self._stop(prepared.batch, StopReason(too_many.reason), too_many.detail) from too_many
        except _BoundReached as bound:
            raise self._stop(prepared.batch, StopReason.UNBOUNDED, f"{bound}; first of all: {error}") from error
        except BadStatement as again:
            raise self._stop(prepared.batch, StopReason.REFUSED, str(again)) from again
        return replacement

    def _find_replacement(self, prepared: PreparedBatch) -> PreparedBatch:
        seconds = self._settings.max_seconds
        try:
            with self._cluster.transaction(
                prepared.batch.partition, query_class=QueryClass.FLUSH, deadline_seconds=seconds + PROOF_SECONDS
            ) as connection:
                raise _TrialsOver(self._search(connection, prepared, ends_at=self._clock() + seconds))
        except _TrialsOver as over:
            return over.replacement

    def _search(self, connection: RowConnection, prepared: PreparedBatch, *, ends_at: float) -> PreparedBatch:
        """Leaves this transaction in any state: it is rolled back."""
        batch, limits = prepared.batch, self._settings.limits
        window = lock_window(
            connection,
            partition=batch.partition,
            old_position=batch.old_position,
            epoch=batch.epoch,
            state=batch.state,
            limits=limits,
        )
        with connection.transaction(force_rollback=True):
            trials = _Trials(
                connection,
                batch,
                limits=limits,
                max_trials=self._settings.max_trials,
                watch=lambda: self._watch(batch.partition, ends_at),
            )
            refused = trials.find_refused(max_refused=get_most_dead(window, read=batch.tally.read, limits=limits))
        replacement = remove_events(prepared, refused)
        apply_flush(connection, replacement.batch, limits=limits)  # the proof; the caller does it once more and commits
        if refused:
            logger.warning(
                "partition %d: %d of %d events cannot be stored and become dead letters, found in %d trials; first: %s",
                batch.partition,
                len(refused),
                batch.tally.read,
                trials.count,
                next(iter(refused.values())).message,
            )
        return replacement

    def _watch(self, partition: int, ends_at: float) -> None:
        if self._clock() >= ends_at:
            raise _BoundReached(f"not all bad events were found in {self._settings.max_seconds:g} s")
        self._renew(partition)

    def _stop(self, batch: FlushBatch, reason: StopReason, detail: str) -> PartitionStopped:
        with self._cluster.transaction(batch.partition, query_class=QueryClass.FLUSH) as connection:
            has_stopped = stop_partition(
                connection,
                partition=batch.partition,
                old_position=batch.old_position,
                epoch=batch.epoch,
                reason=reason,
                detail=detail,
            )
        if has_stopped:
            logger.error(
                "partition %d has stopped at %s: %s: %s; its events wait in the log until it is resumed",
                batch.partition,
                batch.old_position,
                reason.value,
                detail,
            )
        return PartitionStopped(f"partition {batch.partition} has stopped: {reason.value}: {detail}")


class _Trials:
    """Parts of one flush, tried one on top of another after its compare-and-set, in the caller's transaction."""

    def __init__(
        self,
        connection: RowConnection,
        batch: FlushBatch,
        *,
        limits: DeadLetterLimits,
        max_trials: int,
        watch: Callable[[], None],
    ) -> None:
        self.count = 0
        self._connection = connection
        self._batch = batch
        self._max_trials = max_trials
        self._watch = watch
        self._rolled_through = advance_position(connection, batch, limits=limits)

    def find_refused(self, *, max_refused: int) -> dict[int, BatchRefusal]:
        """Rows of `batch.counted`. Raises TooManyDeadLetters, _BoundReached and what no event is to blame for."""
        rows = np.arange(len(self._batch.counted))
        probes = pick_probes(rows, count=PROBES)
        refusals = [self._try(probe, keep=False) for probe in probes]
        if refusals and all(refusals):
            message = next(refusal.message for refusal in refusals if refusal)
            raise TooManyDeadLetters(StopReason.ALL_REFUSED, f"each of {len(probes)} events tried is: {message}")
        try:
            return find_refused(rows, lambda part: self._try(part, keep=True), max_refused=max_refused)
        except TooManyRefused as error:
            message = next(iter(error.refused.values())).message
            raise TooManyDeadLetters(
                StopReason.RATIO, f"more than {max_refused} of {self._batch.tally.read} events are refused: {message}"
            ) from error

    def _try(self, rows: Rows, *, keep: bool) -> BatchRefusal | None:
        self.count += 1
        if self.count > self._max_trials:
            raise _BoundReached(f"not all bad events were found in {self._max_trials} trials")
        self._watch()
        part = select_events(self._batch, rows, position=f"trial {self.count}")
        error = try_batch(self._connection, part, rolled_through=self._rolled_through, keep=keep)
        if error is None:
            return None
        return BatchRefusal(
            getattr(error, "sqlstate", None), (str(error).strip() or type(error).__name__).splitlines()[0]
        )

"""Isolates the events for which a shard refuses a flush for good, or stops the partition.

Such a flush fails the same way however often it is repeated, and would keep its partition busy for ever. It is bisected
inside one transaction that is rolled back, until the events that cannot be stored stand alone. The flush without them,
and with them as dead letters, passes the same transaction before it is returned. Where the fault is not in the events,
or there are too many of them, the partition stops: its position stays, nothing becomes a dead letter, and an operator
has to look.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardproxy.errors import BadStatement
from shardproxy.instance import RowConnection
from shardproxy.query import QueryClass
from viewcounter.events.columns import Columns
from viewcounter.processing.aggregation import MICROSECONDS_PER_HOUR, aggregate, find_types
from viewcounter.processing.batch import NO_CONFLICTS, UNREADABLE_ENTRY, PreparedBatch, build_dead_letter, merge_lines
from viewcounter.processing.errors import PartitionStopped
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.processing.settings import IsolationSettings
from viewcounter.storage.dead_letter_limits import StopReason, count_range, get_most_dead, lock_window, stop_partition
from viewcounter.storage.dead_letters import DeadLetter
from viewcounter.storage.errors import TooManyDeadLetters
from viewcounter.storage.flush import advance_position, apply_flush
from viewcounter.storage.flush_batch import FlushBatch, IdBlock, LedgerLine
from viewcounter.storage.savepoint import try_batch
from viewcounter.storage.settings import DeadLetterLimits

logger = logging.getLogger(__name__)

REFUSED_BY_SHARD = "refused_by_shard"

PROBES = 8
"""Single events tried first, evenly spread: if each is refused, the fault is unlikely to be in the events."""

PROOF_SECONDS = 15.0
"""Time to try the whole flush once more after the search, in the same transaction."""

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class BatchRefusal:
    """Why a shard refused a part. `sqlstate` is None where the driver refused it."""

    sqlstate: str | None
    message: str


TryRows = Callable[[Rows], BatchRefusal | None]
"""Applies these rows on top of those that passed; None: they passed and stay applied. Raises to end the search."""


class TooManyRefused(Exception):
    """More rows are refused than allowed; the search ended early."""

    def __init__(self, refused: dict[int, BatchRefusal]) -> None:
        super().__init__(f"{len(refused)} are refused already")
        self.refused = refused


class _BoundReached(Exception):
    """The search exceeded its bound of trials or time."""


class _TrialsOver(Exception):
    """Carries the result out of the transaction of the trials, which it rolls back."""

    def __init__(self, replacement: PreparedBatch) -> None:
        super().__init__()
        self.replacement = replacement


class PoisonIsolator:
    """Stateless. `on_trial` is called before every trial and may end the search by raising."""

    def __init__(
        self,
        *,
        cluster: PartitionAccess,
        settings: IsolationSettings,
        limits: DeadLetterLimits,
        on_trial: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._limits = limits
        self._on_trial = on_trial
        self._clock = clock

    def isolate(self, prepared: PreparedBatch, error: BadStatement | TooManyDeadLetters) -> PreparedBatch:
        """A batch for the same range that the shard accepts, with the refused events as dead letters.

        Called in the thread that writes, outside any transaction, with nothing of `prepared` written. The drain writes
        the result once and repeats the de-duplication of all that follows. Raises PartitionStopped after stopping the
        partition, PositionMoved, and the shard's Retryable errors.
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
        """May leave the transaction in any state: it is rolled back."""
        batch, limits = prepared.batch, self._limits
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
                watch=lambda: self._watch(ends_at),
            )
            refused = trials.find_refused(max_refused=get_most_dead(window, read=batch.tally.read, limits=limits))
        replacement = remove_events(prepared, refused)
        apply_flush(connection, replacement.batch, limits=limits)  # the proof; the caller repeats it and commits
        if refused:
            logger.warning(
                "partition %d: %d of %d events cannot be stored and become dead letters, found in %d trials; first: %s",
                batch.partition,
                len(refused),
                batch.tally.read,
                trials.count,
                next(iter(refused.values())).message,
                extra={"partition": batch.partition},
            )
        return replacement

    def _watch(self, ends_at: float) -> None:
        if self._clock() >= ends_at:
            raise _BoundReached(f"not all bad events were found in {self._settings.max_seconds:g} s")
        self._on_trial()

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
                extra={"partition": batch.partition},
            )
        return PartitionStopped(f"partition {batch.partition} has stopped: {reason.value}: {detail}")


class _Trials:
    """Tries parts of one flush on top of each other after its compare-and-set, in the caller's transaction."""

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
        """Refused rows of `batch.counted`. Raises TooManyDeadLetters, _BoundReached, and errors no event causes."""
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


def find_refused(rows: Rows, try_rows: TryRows, *, max_refused: int) -> dict[int, BatchRefusal]:
    """The refused rows, each with its reason, by bisection. Raises TooManyRefused, and the errors of `try_rows`.

    Rows that passed stay applied while later parts are tried. So an event that is refused only together with others
    (their sum is too large) is found like any other, and all passed rows pass together. At most
    `2 * k * ceil(log2 n) + 1` trials for k refused of n rows: each halving of a part that holds one costs two.
    """
    refused: dict[int, BatchRefusal] = {}
    pending = [rows] if len(rows) else []
    while pending:
        part = pending.pop()
        refusal = try_rows(part)
        if refusal is None:
            continue
        if len(part) > 1:
            middle = len(part) // 2
            pending += [part[middle:], part[:middle]]
            continue
        refused[int(part[0])] = refusal
        if len(refused) > max_refused:
            raise TooManyRefused(refused)
    return refused


def pick_probes(rows: Rows, *, count: int) -> list[Rows]:
    """`count` single rows, evenly spread; none where there are too few rows for a sample."""
    if len(rows) < count * 4:
        return []
    return [rows[place : place + 1] for place in np.linspace(0, len(rows) - 1, count).astype(int).tolist()]


def select_events(batch: FlushBatch, rows: Rows, *, position: str) -> FlushBatch:
    """Only these rows of `batch.counted`: their raw rows, ids and aggregates; no ledger and no dead letters.

    Ids are stored by partition, minute and position: parts applied in one transaction need a `position` each.
    """
    counted = batch.counted.select(rows)
    aggregated = aggregate(counted)
    used_types = find_types(counted)
    return replace(
        batch,
        new_position=position,
        counted=counted.select(aggregated.order),
        id_blocks=_build_id_blocks(counted),
        minutes=aggregated.minutes,
        totals=aggregated.totals,
        ledger=[],
        dead_letters=[],
        conflicts=NO_CONFLICTS,
        event_types={type_id: batch.event_types[type_id] for type_id in used_types},
    )


def remove_events(prepared: PreparedBatch, refused: Mapping[int, BatchRefusal]) -> PreparedBatch:
    """The same range with these rows of `batch.counted` as dead letters: not counted, their ids not stored.

    Repeats of a refused event within the range stay what they were, duplicates or conflicts.
    """
    if not refused:
        return prepared
    batch = prepared.batch
    bad_rows = np.array(sorted(refused), dtype=np.intp)
    kept_rows = np.setdiff1d(np.arange(len(batch.counted)), bad_rows)
    bad = batch.counted.select(bad_rows)
    is_dead = prepared.is_dead.copy()
    is_dead[prepared.counted_rows[bad_rows]] = True
    letters = [_build_refused_letter(batch, int(row), refused[int(row)]) for row in bad_rows]
    unreadable_count = sum(letter.reason == UNREADABLE_ENTRY for letter in batch.dead_letters)
    kept = select_events(batch, kept_rows, position=batch.new_position)
    return replace(
        prepared,
        batch=replace(
            kept,
            ledger=merge_lines([*batch.ledger, *_move_to_dead(bad)]),
            dead_letters=[*batch.dead_letters, *letters],
            conflicts=batch.conflicts,
            tally=count_range(is_dead, unreadable_count=unreadable_count),
        ),
        is_dead=is_dead,
        counted_rows=prepared.counted_rows[kept_rows],
    )


def _build_refused_letter(batch: FlushBatch, row: int, refusal: BatchRefusal) -> DeadLetter:
    return build_dead_letter(
        batch.counted,
        row,
        position=batch.new_position,
        reason=REFUSED_BY_SHARD,
        detail=refusal.message,
        sqlstate=refusal.sqlstate,
    )


def _build_id_blocks(columns: Columns) -> list[IdBlock]:
    """Id blocks of events that are all new and distinct; there may be none."""
    if not len(columns):
        return []
    minutes, words, contents = columns.id_minutes(), columns.id_words(), columns.content_digests()
    order = np.lexsort((words[:, 1], words[:, 0], minutes))
    ids, contents = columns.event_ids[order], contents[order]
    found, starts = np.unique(minutes[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)]
    return [
        IdBlock(minute, ids[start:end], contents[start:end])
        for minute, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True)
    ]


def _move_to_dead(bad: Columns) -> list[LedgerLine]:
    """Ledger corrections for events that the batch had counted."""
    digests = bad.id_digests().tolist()
    hours = (bad.occurred_us // MICROSECONDS_PER_HOUR).tolist()
    return [
        LedgerLine(hour_us=hour * MICROSECONDS_PER_HOUR, counted=-1, dead_lettered=1, digest=-digest)
        for hour, digest in zip(hours, digests, strict=True)
    ]

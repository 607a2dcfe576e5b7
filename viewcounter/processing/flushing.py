"""Writes flushes: several partitions of a shard in one transaction, or one partition by itself.

A partition that cannot take part leaves the joint flush and the others commit: its row is locked by another
transaction, it has moved, or the shard refuses its events. Which of them the shard refuses is found by writing each by
itself.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from runtime.metrics import FLUSH_SECONDS, FLUSHES_LEFT, LOG_RANGES_LOST, VIDEOS_ENRICHED
from shardproxy.errors import BadStatement
from shardproxy.query import QueryClass
from viewcounter.processing.batch import PreparedBatch
from viewcounter.processing.flush_writer import JointBatch, LeftOut, Written
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.storage.catalogue import NO_COPIES, CatalogueCopies, write_copies
from viewcounter.storage.errors import PositionMoved, TooManyDeadLetters
from viewcounter.storage.flush import apply_flush, apply_joint_flush
from viewcounter.storage.flush_batch import FlushBatch
from viewcounter.storage.settings import DeadLetterLimits

logger = logging.getLogger(__name__)


class FindCopies(Protocol):
    """Catalogue rows of videos that are new to a shard, given their partitions; never raises, never waits for a server.
    See LocalCopy."""

    def __call__(self, partitions: Mapping[str, int]) -> CatalogueCopies: ...


def find_no_copies(partitions: Mapping[str, int]) -> CatalogueCopies:  # noqa: ARG001
    return NO_COPIES


class Flusher:
    """Stateless; used by a drain's own thread and its writer's."""

    def __init__(
        self,
        *,
        cluster: PartitionAccess,
        limits: DeadLetterLimits,
        find_copies: FindCopies,
        poison: PoisonIsolator | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`poison` None: the error of a flush that the shard refuses is raised."""
        self._cluster = cluster
        self._limits = limits
        self._find_copies = find_copies
        self._poison = poison
        self._clock = clock

    def flush(self, joint: JointBatch, *, is_alone: bool) -> Written:
        """`is_alone`: one partition that is drained by itself: waits for its row, and raises PositionMoved if the
        partition has moved; others are left out. Raises OutcomeUnknown, PartitionStopped, and Retryable errors of the
        shard."""
        return self._flush_alone(joint[0]) if is_alone else self._flush_together(joint)

    def _flush_alone(self, prepared: PreparedBatch) -> Written:
        try:
            self._write([prepared.batch], waits=True)
        except (BadStatement, TooManyDeadLetters) as error:
            if self._poison is None:
                raise
            replacement = self._poison.isolate(prepared, error)
            self._write([replacement.batch], waits=True)
            return Written((replacement,), is_unchanged=False)
        return Written((prepared,), is_unchanged=True)

    def _flush_together(self, joint: JointBatch) -> Written:
        # Limits of dead letters are checked by a flush of one partition.
        clean = [prepared for prepared in joint if not prepared.batch.tally.dead]
        if len(clean) == 1:
            clean = []
        together = {prepared.batch.partition for prepared in clean}
        each = [prepared for prepared in joint if prepared.batch.partition not in together]
        done: set[int] = set()
        left_out: dict[int, LeftOut] = {}
        try:
            if clean:
                done |= self._write([prepared.batch for prepared in clean], waits=False)
        except BadStatement as error:
            logger.info("a flush of %d partitions is refused, each is written by itself: %s", len(clean), error)
            each = list(joint)
        else:
            left_out |= {p.batch.partition: LeftOut.BUSY for p in clean if p.batch.partition not in done}
        for prepared in each:
            reason = self._try_one(prepared)
            if reason is None:
                done.add(prepared.batch.partition)
            else:
                left_out[prepared.batch.partition] = reason
        for reason in left_out.values():
            FLUSHES_LEFT.labels(reason).inc()
        batches = tuple(prepared for prepared in joint if prepared.batch.partition in done)
        return Written(batches, is_unchanged=not left_out, left_out=left_out)

    def _try_one(self, prepared: PreparedBatch) -> LeftOut | None:
        try:
            self._write([prepared.batch], waits=False)
        except PositionMoved:
            return LeftOut.BUSY
        except (BadStatement, TooManyDeadLetters) as error:
            logger.info("partition %d is flushed alone from now on: %s", prepared.batch.partition, error)
            return LeftOut.REFUSED
        return None

    def _write(self, batches: Sequence[FlushBatch], *, waits: bool) -> frozenset[int]:
        """Returns the partitions that are flushed. A single one that cannot be flushed raises PositionMoved."""
        started_at = self._clock()
        with self._cluster.transaction(batches[0].partition, query_class=QueryClass.FLUSH) as connection:
            if len(batches) == 1:
                flushed = apply_flush(connection, batches[0], limits=self._limits, waits=waits)
            else:
                flushed = apply_joint_flush(connection, batches, limits=self._limits)
            if flushed.new_videos:
                copies = self._find_copies(flushed.new_videos)
                if copies.videos:
                    write_copies(connection, copies)
                VIDEOS_ENRICHED.inc(len(copies.videos))
        FLUSH_SECONDS.observe(self._clock() - started_at)
        _report_losses([batch for batch in batches if batch.partition in flushed.partitions])
        return flushed.partitions


def _report_losses(batches: Iterable[FlushBatch]) -> None:
    for batch in batches:
        for loss in batch.losses:
            LOG_RANGES_LOST.labels(loss.reason).inc()
            logger.error(
                "partition %d: entries of the event log past %s, up to %s, are lost (%s): %s",
                batch.partition,
                loss.after,
                loss.through,
                loss.reason.value,
                loss.detail or "the log went on with another term",
                extra={"partition": batch.partition},
            )

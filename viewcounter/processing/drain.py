"""One drain of one partition: read past its position, flush, repeat until the end of the log or of its time.

Consumer (processing.consumer) -> de-duplication (processing.known_ids) -> aggregation -> bounded queue -> writer
(processing.flush_writer): the next flush is read and de-duplicated while the last one commits.

A drain ends at the end that the log had when it was read. Later entries are for the next drain: waiting for beat
gathers them into one flush instead of many small ones.

Finite and idempotent: it may run twice, beside itself, or die anywhere; the flush's compare-and-set decides.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from clusterproxy.plan import Consistency
from configservice.topology.model import EventType
from runtime.metrics import EVENTS_FLUSHED, FLUSH_SECONDS, FLUSHES_CONTENDED, ID_PIECES_MERGED, VIDEOS_ENRICHED
from shardproxy.errors import BadStatement, OutcomeUnknown
from shardproxy.query import QueryClass
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.processing.batch import DecodedRange, PreparedBatch, prepare_batch
from viewcounter.processing.consumer import Chunk, PartitionConsumer
from viewcounter.processing.deduplication import MINUTES_AT_ONCE
from viewcounter.processing.errors import PartitionNotOwned, StaleTopology, VerdictsVoid
from viewcounter.processing.flush_writer import FlushWriter, Written
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache, PartitionIds
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.processing.settings import DrainSettings
from viewcounter.storage.catalogue import NO_COPIES, CatalogueCopies, write_copies
from viewcounter.storage.errors import PositionMoved, TooManyDeadLetters
from viewcounter.storage.flush import apply_flush
from viewcounter.storage.id_pieces import merge_id_pieces
from viewcounter.storage.partitions import (
    OWNED,
    READ_SCHEMA_VERSION,
    READ_STATE,
    PartitionState,
    check_schema_version,
    get_state,
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class DrainReport:
    """Result of a drain. `position` is `ms-seq`; counts are numbers of events."""

    partition: int
    position: str = "0-0"
    flush_count: int = 0
    counted: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead_letter_count: int = 0
    caught_up: bool = False
    contended_count: int = 0


class DrainLease(Protocol):
    """Shows that this drain is alive. Only saves work; never decides which events are counted."""

    def renew(self, partition: int) -> None: ...


class FindCopies(Protocol):
    """Catalogue rows of videos that are new to a shard; never raises, never waits for a server. See LocalCopy."""

    def __call__(self, video_ids: Sequence[str], *, partition: int) -> CatalogueCopies: ...


def find_no_copies(video_ids: Sequence[str], *, partition: int) -> CatalogueCopies:  # noqa: ARG001
    return NO_COPIES


class Drainer:
    """Drains partitions with one cluster proxy, one log and one id cache: those of a worker process."""

    def __init__(
        self,
        *,
        cluster: PartitionAccess,
        log: EventLog,
        ids: IdCache,
        lease: DrainLease,
        settings: DrainSettings,
        partition_state: str = OWNED,
        poison: PoisonIsolator | None = None,
        find_copies: FindCopies = find_no_copies,
        is_stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`poison` None: a flush that the shard refuses ends its drain. Once `is_stopping` returns True, a drain ends
        after the flush in progress. A partition in another state
        than `partition_state` is left alone."""
        self._cluster = cluster
        self._log = log
        self._ids = ids
        self._lease = lease
        self._settings = settings
        self._partition_state = partition_state
        self._find_copies = find_copies
        self._poison = poison
        self._is_stopping = is_stopping
        self._clock = clock
        # One worker: the batches of a partition commit in the order of the log.
        self._flush_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flush-writer")
        self._checked_shards: set[int] = set()

    def drain(self, partition: int, *, until: Position | None = None) -> DrainReport:
        """Apply what the log holds past the partition's position, to the end that it has now, but not past `until`.

        Raises Retryable errors of shard and log, StaleTopology, PartitionNotOwned, PartitionStopped, PositionTrimmed,
        SchemaVersionMismatch; whatever was flushed before stays flushed.
        """
        report = DrainReport(partition)
        self._check_schema(partition)
        ends_at = self._clock() + self._settings.budget_seconds

        def may_go_on() -> bool:
            return self._clock() < ends_at and not self._is_stopping()

        while True:
            try:
                self._run_pipeline(partition, report, may_go_on, until=until)
            except (PositionMoved, OutcomeUnknown, VerdictsVoid) as error:
                # Another drain was faster, the answer to the commit was lost, or refused events were left out.
                logger.info("partition %d: reading the state again: %s", partition, error)
                FLUSHES_CONTENDED.inc()
                report.contended_count += 1
                if may_go_on():
                    continue
            return report

    def close(self) -> None:
        """Waits for the flush in progress, which the deadline of its transaction bounds."""
        self._flush_thread.shutdown(wait=True, cancel_futures=True)

    def _run_pipeline(
        self, partition: int, report: DrainReport, may_go_on: Callable[[], bool], *, until: Position | None
    ) -> None:
        """From the shard's position, as far as time allows. Raises the error of the oldest failed batch."""
        state = self._get_owned_state(partition)
        report.position = state.position
        consumer = PartitionConsumer(
            self._log,
            partition,
            after=Position.parse(state.position),
            until=until,
            limits=self._settings.flush,
            max_read_entries=self._settings.log_read_entries,
            clock=self._clock,
        )
        pieces = self._settings.id_pieces
        ids = PartitionIds(self._ids, self._cluster, partition, position=state.position, pieces=pieces)

        def on_written(written: Written) -> None:
            _add_to_report(report, written.prepared)
            if not written.is_unchanged:
                raise VerdictsVoid(f"the flush to {written.prepared.batch.new_position} left events out")
            ids.commit()

        writer = FlushWriter(
            self._flush,
            self._flush_thread,
            max_queued=self._settings.max_queued_batches,
            on_written=on_written,
            watch=lambda: self._lease.renew(partition),
        )
        try:
            while may_go_on() and not report.caught_up:
                self._lease.renew(partition)
                chunk = consumer.read_chunk()
                if chunk is not None:
                    prepared = self._prepare(partition, replace(state, position=ids.position), chunk, ids)
                    ids.move(prepared.batch)
                    writer.submit(prepared, is_last=chunk.at_end)
                report.caught_up = chunk is None or chunk.at_end
            if self._is_stopping() and writer.drop_queued():
                report.caught_up = False
            writer.settle()
            if ids.crowded:
                self._merge_pieces(partition, ids.crowded, epoch=state.epoch)
        except BaseException:
            report.caught_up = False
            raise
        finally:
            writer.abandon()
            ids.close()

    def _merge_pieces(self, partition: int, minutes: set[int], *, epoch: int) -> None:
        """Merges the id pieces of some of these minutes: each flush of late events adds a piece to every minute that it
        touches."""
        some, small_ids = sorted(minutes)[:MINUTES_AT_ONCE], self._settings.id_pieces.small_ids
        with self._cluster.transaction(partition, query_class=QueryClass.FLUSH) as connection:
            gone = merge_id_pieces(connection, partition, some, epoch=epoch, small_ids=small_ids)
        ID_PIECES_MERGED.inc(gone)

    def _check_schema(self, partition: int) -> None:
        """Once per shard: migrations only go forward, and a release is started after its migrations."""
        shard = self._cluster.topology.get_shard_of(partition)
        if shard.id not in self._checked_shards:
            result = self._cluster.read(partition, READ_SCHEMA_VERSION, {}, consistency=Consistency.STRONG)
            check_schema_version(result.rows, shard=shard.name)
            self._checked_shards.add(shard.id)

    def _get_owned_state(self, partition: int) -> PartitionState:
        state = self._read_state(partition)
        if state.epoch != self._cluster.topology.assignments[partition].epoch:
            self._cluster.refresh_topology()
            state = self._read_state(partition)
            expected = self._cluster.topology.assignments[partition].epoch
            if state.epoch != expected:
                raise StaleTopology(f"partition {partition} has epoch {state.epoch}, topology says {expected}")
        if state.state != self._partition_state:
            raise PartitionNotOwned(f"partition {partition} is {state.state}")
        return state

    def _read_state(self, partition: int) -> PartitionState:
        result = self._cluster.read(partition, READ_STATE, {"partition": partition}, consistency=Consistency.STRONG)
        return get_state(result.rows, partition=partition)

    def _prepare(self, partition: int, state: PartitionState, chunk: Chunk, ids: PartitionIds) -> PreparedBatch:
        return prepare_batch(
            chunk.decoded,
            partition=partition,
            state=state,
            event_types=self._get_event_types(chunk.decoded),
            known=ids,
            max_conflicts=self._settings.flush_max_conflicts,
            complete_ms=chunk.complete_ms,
        )

    def _get_event_types(self, decoded: DecodedRange) -> dict[int, EventType]:
        """By id. An unknown type may be newer than our topology."""
        types = {t.id: t for t in self._cluster.topology.event_types}
        if not np.isin(decoded.columns.type_ids, list(types)).all():
            self._cluster.refresh_topology()
            types = {t.id: t for t in self._cluster.topology.event_types}
        return types

    def _flush(self, prepared: PreparedBatch) -> Written:
        """Runs in the writer's thread, or in the drain's."""
        try:
            self._write(prepared)
        except (BadStatement, TooManyDeadLetters) as error:
            if self._poison is None:
                raise
            replacement = self._poison.isolate(prepared, error)
            self._write(replacement)
            return Written(replacement, is_unchanged=False)
        return Written(prepared, is_unchanged=True)

    def _write(self, prepared: PreparedBatch) -> None:
        started_at = self._clock()
        with self._cluster.transaction(prepared.batch.partition, query_class=QueryClass.FLUSH) as connection:
            new_videos = apply_flush(connection, prepared.batch, limits=self._settings.dead_letters)
            if new_videos:
                copies = self._find_copies(new_videos, partition=prepared.batch.partition)
                if copies.videos:
                    write_copies(connection, copies)
                VIDEOS_ENRICHED.inc(len(copies.videos))
        FLUSH_SECONDS.observe(self._clock() - started_at)


def _add_to_report(report: DrainReport, prepared: PreparedBatch) -> None:
    report.position = prepared.batch.new_position
    report.flush_count += 1
    report.counted += len(prepared.batch.counted)
    report.duplicate += prepared.duplicate_count
    report.conflict += prepared.conflict_count
    report.dead_letter_count += len(prepared.batch.dead_letters)
    for line in prepared.batch.ledger:
        EVENTS_FLUSHED.labels("counted").inc(line.counted)
        EVENTS_FLUSHED.labels("duplicate").inc(line.duplicate)
        EVENTS_FLUSHED.labels("conflict").inc(line.conflict)
        EVENTS_FLUSHED.labels("dead_lettered").inc(line.dead_lettered)

"""Drains partitions of one shard: read past their positions, flush, repeat.

Consumer (processing.consumer) -> de-duplication (processing.known_ids) -> aggregation -> bounded queue -> writer
(processing.flush_writer): the next flush is read and de-duplicated while the last one commits. All partitions are read
by the same calls and written by the same transactions: what a flush costs besides its events is paid once.

Idempotent: a drain may run beside another one of the same partitions, or die anywhere; the flush's compare-and-set
decides.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from clusterproxy.plan import Consistency
from configservice.topology.model import EventType
from runtime.metrics import FLUSHES_CONTENDED, ID_PIECES_MERGED
from shardproxy.errors import OutcomeUnknown
from shardproxy.query import QueryClass
from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.processing.aggregation import find_types
from viewcounter.processing.batch import prepare_batch
from viewcounter.processing.consumer import Chunk, LogConsumer
from viewcounter.processing.deduplication import MINUTES_AT_ONCE
from viewcounter.processing.drain_report import DrainReport
from viewcounter.processing.errors import LogSuperseded, PartitionNotOwned, StaleTopology, VerdictsVoid
from viewcounter.processing.flush_writer import FlushWriter, JointBatch, LeftOut, Written
from viewcounter.processing.flushing import FindCopies, Flusher, find_no_copies
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache, PartitionIds
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.processing.settings import DrainSettings
from viewcounter.storage.errors import PartitionNotHere, PositionMoved, StorageError
from viewcounter.storage.id_pieces import merge_id_pieces
from viewcounter.storage.log_sessions import adopt_log_session
from viewcounter.storage.partitions import (
    OWNED,
    READ_SCHEMA_VERSION,
    READ_STATES,
    PartitionState,
    check_schema_version,
    get_states,
)

logger = logging.getLogger(__name__)

MAX_SKIPS = 3
"""A partition that was left out of this many flushes in a row gets flushes of its own, which wait for its row."""

WAIT_SECONDS = 1.0
"""Longest wait for new entries before the log is read whatever happens."""

States = Mapping[int, PartitionState]
Ids = Mapping[int, PartitionIds]


class PartitionsLeftOut(VerdictsVoid):
    """Some partitions were left out of a joint flush. The others go on; all are read again. Harmless."""

    def __init__(self, left_out: Mapping[int, LeftOut]) -> None:
        super().__init__(", ".join(f"partition {p} is {reason}" for p, reason in left_out.items()))
        self.left_out = dict(left_out)


class Drainer:
    """Drains partitions of one shard with one cluster proxy, one log and one id cache. Used by one thread."""

    def __init__(
        self,
        *,
        cluster: PartitionAccess,
        log: EventLog,
        ids: IdCache,
        settings: DrainSettings,
        partition_state: str = OWNED,
        poison: PoisonIsolator | None = None,
        find_copies: FindCopies = find_no_copies,
        is_stopping: Callable[[], bool] = lambda: False,
        on_progress: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`poison` None: a flush of one partition that the shard refuses ends its drain. Once `is_stopping` returns
        True, a drain ends after the flush in progress. A partition in another state than `partition_state` is left
        alone. `on_progress` is called before each read of the log and while a commit takes long; it may end the drain
        by raising."""
        self._cluster = cluster
        self._log = log
        self._ids = ids
        self._settings = settings
        self._partition_state = partition_state
        self._flusher = Flusher(
            cluster=cluster, limits=settings.dead_letters, find_copies=find_copies, poison=poison, clock=clock
        )
        self._is_stopping = is_stopping
        self._on_progress = on_progress
        self._clock = clock
        self._now = now
        # One worker: the batches of a partition commit in the order of the log.
        self._flush_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flush-writer")
        self._checked_shards: set[int] = set()
        self._skips: Counter[int] = Counter()  # flushes in a row that a partition was left out of

    def drain(self, partitions: Collection[int], *, until: Position | None = None) -> DrainReport:
        """Apply what the log holds past the positions of the partitions, to the end that it has now, but not past
        `until`. First all together, then those that have to be drained alone; each for at most `budget_seconds`.

        Raises Retryable errors of shard and log, LogEndLost, LogSuperseded, SchemaVersionMismatch, and for a partition
        by itself StaleTopology, PartitionNotOwned, PartitionNotHere, PartitionStopped, PositionTrimmed. Everything that
        was flushed before stays flushed.
        """
        report = DrainReport(caught_up=True)
        together, alone = set(partitions), set[int]()
        while len(together) > 1:
            left = self._drain_once(together, report, until=until)
            alone |= left
            together -= left
            if not left:
                together = set()
        for partition in sorted(alone | together):
            self._drain_once({partition}, report, until=until)
        return report

    def follow(self, partitions: Collection[int], *, is_over: Callable[[], bool]) -> frozenset[int]:
        """As `drain`, but goes on with further entries until `is_over` or a stop is requested, and returns early with
        the partitions that have to be drained alone. Flushes begin at least `linger_seconds` apart."""

        def goes_on() -> bool:
            return not (is_over() or self._is_stopping())

        return self._repeat(partitions, DrainReport(), goes_on, until=None, follows=True)

    def close(self) -> None:
        """Waits for the flush in progress, which the deadline of its transaction bounds."""
        self._flush_thread.shutdown(wait=True, cancel_futures=True)

    def _drain_once(
        self, partitions: Collection[int], report: DrainReport, *, until: Position | None
    ) -> frozenset[int]:
        ends_at = self._clock() + self._settings.budget_seconds

        def goes_on() -> bool:
            return self._clock() < ends_at and not self._is_stopping()

        return self._repeat(partitions, report, goes_on, until=until, follows=False)

    def _repeat(
        self,
        partitions: Collection[int],
        report: DrainReport,
        goes_on: Callable[[], bool],
        *,
        until: Position | None,
        follows: bool,
    ) -> frozenset[int]:
        """Reads the states again whenever a flush did not commit as prepared. Returns the partitions that have to be
        drained alone."""
        while True:
            try:
                caught_up = self._run(partitions, report, goes_on, until=until, follows=follows)
            except (PositionMoved, OutcomeUnknown, VerdictsVoid) as error:
                # Another drain was faster, the answer to the commit was lost, or something was left out.
                logger.info("reading the state of %d partitions again: %s", len(partitions), error)
                FLUSHES_CONTENDED.inc()
                report.contended_count += 1
                alone = self._find_alone(error.left_out) if isinstance(error, PartitionsLeftOut) else frozenset()
                if alone:
                    return alone
                if goes_on():
                    continue
                caught_up = False
            report.caught_up &= caught_up
            return frozenset()

    def _find_alone(self, left_out: Mapping[int, LeftOut]) -> frozenset[int]:
        self._skips.update(list(left_out))
        return frozenset(p for p, why in left_out.items() if why is not LeftOut.BUSY or self._skips[p] >= MAX_SKIPS)

    def _run(
        self,
        partitions: Collection[int],
        report: DrainReport,
        goes_on: Callable[[], bool],
        *,
        until: Position | None,
        follows: bool,
    ) -> bool:
        """From the shard's positions, as far as `goes_on` allows. Returns whether the end of the log was reached.
        Raises the error of the oldest failed flush."""
        states = self._enter_session(self._read_owned_states(partitions))
        report.positions |= {partition: state.position for partition, state in states.items()}
        consumer = self._build_consumer(states, until=until)
        producers = {partition: state.producers for partition, state in states.items()}
        pieces = self._settings.id_pieces
        ids = {
            partition: PartitionIds(self._ids, self._cluster, partition, position=state.position, pieces=pieces)
            for partition, state in states.items()
        }
        writer = FlushWriter(
            lambda joint: self._flusher.flush(joint, is_alone=len(states) == 1),
            self._flush_thread,
            max_queued=self._settings.max_queued_batches,
            on_written=lambda written: self._settle(written, ids, report),
            watch=self._on_progress,
        )
        caught_up, flushed_at = False, -self._settings.linger_seconds
        try:
            while goes_on() and not caught_up:
                self._on_progress()
                read_at = self._clock()
                chunk = consumer.read_chunk()
                _check_trimmed(consumer.trimmed, single=len(states) == 1)
                if chunk.parts:
                    flushed_at = read_at
                    writer.submit(self._prepare(states, chunk, ids, producers), is_last=chunk.at_end)
                if chunk.at_end and follows:
                    writer.settle()
                    self._merge_crowded(states, ids)
                    if not chunk.parts:
                        self._log.wait(consumer.positions, timeout_seconds=WAIT_SECONDS)
                    # A shorter time between flushes would spend more on each than on the events in it.
                    time.sleep(max(0.0, flushed_at + self._settings.linger_seconds - self._clock()))
                caught_up = chunk.at_end and not follows
            if self._is_stopping() and writer.drop_queued():
                caught_up = False
            writer.settle()
            self._merge_crowded(states, ids)
            return caught_up
        finally:
            writer.abandon()
            for each in ids.values():
                each.close()

    def _build_consumer(self, states: States, *, until: Position | None) -> LogConsumer:
        return LogConsumer(
            self._log,
            {partition: Position.parse(state.position) for partition, state in states.items()},
            until=until,
            limits=self._settings.flush,
            max_read_entries=self._settings.log_read_entries,
            clock=self._clock,
            now=self._now,
        )

    def _settle(self, written: Written, ids: Ids, report: DrainReport) -> None:
        """A flush has committed. Raises VerdictsVoid if not as it was prepared."""
        report.flush_count += bool(written.batches)
        for prepared in written.batches:
            report.add(prepared)
            self._skips.pop(prepared.batch.partition, None)
            if written.is_unchanged or written.left_out:
                ids[prepared.batch.partition].commit()
        if written.left_out:
            raise PartitionsLeftOut(written.left_out)
        if not written.is_unchanged:
            raise VerdictsVoid(f"the flush to {written.batches[0].batch.new_position} left events out")

    def _merge_crowded(self, states: States, all_ids: Ids) -> None:
        """Merges the id pieces of some minutes: each flush of late events adds a piece to every minute that it
        touches."""
        for partition, ids in all_ids.items():
            if not ids.crowded:
                continue
            some, small_ids = sorted(ids.crowded)[:MINUTES_AT_ONCE], self._settings.id_pieces.small_ids
            with self._cluster.transaction(partition, query_class=QueryClass.FLUSH) as connection:
                gone = merge_id_pieces(connection, partition, some, epoch=states[partition].epoch, small_ids=small_ids)
            ids.crowded.clear()
            ID_PIECES_MERGED.inc(gone)

    def _check_schema(self, partition: int) -> None:
        """Once per shard: migrations only go forward, and a release is started after its migrations."""
        shard = self._cluster.topology.get_shard_of(partition)
        if shard.id not in self._checked_shards:
            result = self._cluster.read(partition, READ_SCHEMA_VERSION, {}, consistency=Consistency.STRONG)
            check_schema_version(result.rows, shard=shard.name)
            self._checked_shards.add(shard.id)

    def _read_owned_states(self, partitions: Collection[int]) -> dict[int, PartitionState]:
        """By partition, ascending. Raises the error of a single partition that cannot be drained, and PartitionsLeftOut
        for such ones among several."""
        first = min(partitions)
        self._check_schema(first)
        found = self._read_states(partitions)
        if any(self._is_stale(partition, state) for partition, state in found.items()):
            self._cluster.refresh_topology()
            found = self._read_states(partitions)
        states: dict[int, PartitionState] = {}
        errors: dict[int, Exception] = {}
        for partition in sorted(partitions):
            try:
                states[partition] = self._check_state(partition, found.get(partition))
            except (StaleTopology, PartitionNotOwned, StorageError) as error:
                errors[partition] = error
        if errors and len(partitions) == 1:
            raise errors[first]
        if errors:
            raise PartitionsLeftOut(dict.fromkeys(errors, LeftOut.NOT_OWNED))
        return states

    def _enter_session(self, states: States) -> States:
        """The rows take entries of the log's present session, in which the drain reads. Raises LogSuperseded."""
        session = self._log.session
        others = [partition for partition, state in states.items() if state.log_session != session.text]
        if not others:
            return states
        term = session.identity.term
        with self._cluster.transaction(others[0], query_class=QueryClass.FLUSH) as connection:
            adopt_log_session(connection, others, term=term, session=session.text, waits=len(states) == 1)
        states = self._read_owned_states(list(states))
        newest = max(state.log_term for state in states.values())
        if newest > term:
            raise LogSuperseded(f"the log server is at term {term}, the shard at term {newest}")
        held = [partition for partition, state in states.items() if state.log_session != session.text]
        if held:
            raise PartitionsLeftOut(dict.fromkeys(held, LeftOut.BUSY))
        return states

    def _read_states(self, partitions: Collection[int]) -> dict[int, PartitionState]:
        result = self._cluster.read(
            min(partitions), READ_STATES, {"partitions": sorted(partitions)}, consistency=Consistency.STRONG
        )
        return get_states(result.rows)

    def _is_stale(self, partition: int, state: PartitionState) -> bool:
        return state.epoch != self._cluster.topology.assignments[partition].epoch

    def _check_state(self, partition: int, state: PartitionState | None) -> PartitionState:
        if state is None:
            raise PartitionNotHere(f"partition {partition} has no state row on its shard")
        if self._is_stale(partition, state):
            expected = self._cluster.topology.assignments[partition].epoch
            raise StaleTopology(f"partition {partition} has epoch {state.epoch}, topology says {expected}")
        if state.state != self._partition_state:
            raise PartitionNotOwned(f"partition {partition} is {state.state}")
        return state

    def _prepare(self, states: States, chunk: Chunk, ids: Ids, producers: dict[int, bytes]) -> JointBatch:
        """`producers`: of the batch before, by partition; replaced by those of this one."""
        types = self._get_event_types(chunk)
        joint = []
        for partition, part in chunk.parts.items():
            known = ids[partition]
            try:
                prepared = prepare_batch(
                    part.decoded,
                    partition=partition,
                    state=replace(states[partition], position=known.position, producers=producers[partition]),
                    event_types=types,
                    known=known,
                    max_conflicts=self._settings.flush_max_conflicts,
                    complete_at=part.complete_at,
                )
            except PositionMoved as error:
                if len(states) == 1:
                    raise
                raise PartitionsLeftOut({partition: LeftOut.BUSY}) from error
            known.move(prepared.batch)
            producers[partition] = prepared.batch.producers
            joint.append(prepared)
        return tuple(joint)

    def _get_event_types(self, chunk: Chunk) -> dict[int, EventType]:
        """By id. An unknown type may be newer than our topology."""
        types = {t.id: t for t in self._cluster.topology.event_types}
        found = {type_id for part in chunk.parts.values() for type_id in find_types(part.decoded.columns)}
        if not found <= types.keys():
            self._cluster.refresh_topology()
            types = {t.id: t for t in self._cluster.topology.event_types}
        return types


def _check_trimmed(trimmed: Mapping[int, PositionTrimmed], *, single: bool) -> None:
    if trimmed and single:
        raise next(iter(trimmed.values()))
    if trimmed:
        raise PartitionsLeftOut(dict.fromkeys(trimmed, LeftOut.TRIMMED))

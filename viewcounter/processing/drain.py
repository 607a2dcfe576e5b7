"""One drain of one partition: read past its position, flush, repeat until the log is empty or time is up.

Finite and idempotent: it may run twice, beside itself, or die anywhere; the flush's compare-and-set decides.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology import EventType
from shardproxy.errors import OutcomeUnknown
from shardproxy.query import QueryClass
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.processing.batch import DecodedRange, PreparedBatch, decode_entries, prepare_batch
from viewcounter.processing.deduplication import IdCache, KnownIds
from viewcounter.processing.errors import PartitionNotOwned, StaleTopology
from viewcounter.processing.poison import REFUSED, NoIsolation, PoisonHandler
from viewcounter.storage.catalogue import NO_COPIES, CatalogueCopies, write_copies
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.flush import apply_flush
from viewcounter.storage.partitions import (
    READ_EVENT_IDS,
    READ_SCHEMA_VERSION,
    READ_STATE,
    PartitionState,
    check_schema_version,
    event_ids_parameters,
    get_state,
)
from viewcounter.storage.stopping import DeadLetterLimits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """`budget_seconds` ends a drain, `flush_max_events` a flush, `log_read_entries` one read of the log."""

    budget_seconds: float
    flush_max_events: int
    log_read_entries: int
    dead_letters: DeadLetterLimits


@dataclass(slots=True)
class DrainReport:
    """What a drain did. `position` is `ms-seq`; counts are events."""

    partition: int
    position: str = "0-0"
    flush_count: int = 0
    counted: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead_letter_count: int = 0
    caught_up: bool = False
    contended_count: int = 0


class Lease(Protocol):
    """Tells others that this drain is alive. Only saves work; never decides what is counted."""

    def renew(self, partition: int) -> None: ...


class FindCopies(Protocol):
    """What is known of videos that a shard has never seen; must not raise nor wait. See processing.enrichment."""

    def __call__(self, video_ids: Sequence[str], *, partition: int) -> CatalogueCopies: ...


def know_nothing(video_ids: Sequence[str], *, partition: int) -> CatalogueCopies:  # noqa: ARG001
    return NO_COPIES


class Drainer:
    """Drains partitions with one cluster proxy, one log and one id cache: those of a worker process."""

    def __init__(
        self,
        *,
        cluster: ClusterProxy,
        log: EventLog,
        ids: IdCache,
        lease: Lease,
        settings: DrainSettings,
        poison: PoisonHandler | None = None,
        find_copies: FindCopies = know_nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._log = log
        self._ids = ids
        self._lease = lease
        self._settings = settings
        self._find_copies = find_copies
        self._poison = poison or NoIsolation()
        self._clock = clock
        self._checked_shards: set[int] = set()

    def drain(self, partition: int) -> DrainReport:
        """Apply what the log holds past the partition's position.

        Raises Retryable errors of shard and log, StaleTopology, PartitionNotOwned, PartitionStopped, PositionTrimmed,
        SchemaVersionMismatch; whatever was flushed before stays flushed.
        """
        report = DrainReport(partition)
        self._check_schema(partition)
        ends_at = self._clock() + self._settings.budget_seconds
        state = self._get_owned_state(partition)
        report.position = state.position
        while self._clock() < ends_at:
            self._lease.renew(partition)
            decoded = self._read_range(partition, after=Position.parse(state.position))
            if decoded is None:
                report.caught_up = True
                break
            try:
                prepared = self._prepare(partition, state, decoded)
                prepared = self._flush(prepared)
            except (PositionMoved, OutcomeUnknown) as error:
                # Another drain was faster, or the commit's answer got lost: the row knows.
                logger.info("partition %d: reading the state again: %s", partition, error)
                self._ids.forget(partition)
                report.contended_count += 1
                state = self._get_owned_state(partition)
                continue
            self._ids.advance(partition, position=prepared.batch.new_position, known=prepared.known)
            state = replace(state, position=prepared.batch.new_position)
            _add_to_report(report, prepared)
        return report

    def _check_schema(self, partition: int) -> None:
        """Once a shard: migrations only go forward, and a release is started after its migrations."""
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
        if state.state != "owned":
            raise PartitionNotOwned(f"partition {partition} is {state.state}")
        return state

    def _read_state(self, partition: int) -> PartitionState:
        result = self._cluster.read(partition, READ_STATE, {"partition": partition}, consistency=Consistency.STRONG)
        return get_state(result.rows, partition=partition)

    def _read_range(self, partition: int, *, after: Position) -> DecodedRange | None:
        """The next entries, up to a flush's worth of events; None when there are none."""
        parts: list[DecodedRange] = []
        event_count = 0
        while event_count < self._settings.flush_max_events:
            entries = self._log.read(partition, after=after, max_entries=self._settings.log_read_entries)
            if not entries:
                break
            part = decode_entries(entries)
            parts.append(part)
            event_count += len(part.columns)
            after = part.end
            if len(entries) < self._settings.log_read_entries:
                break
        return DecodedRange.join(parts) if parts else None

    def _prepare(self, partition: int, state: PartitionState, decoded: DecodedRange) -> PreparedBatch:
        def load(minutes: Collection[int]) -> dict[int, KnownIds]:
            return self._load_ids(partition, minutes, position=state.position)

        return prepare_batch(
            decoded,
            partition=partition,
            state=state,
            event_types=self._get_event_types(decoded),
            get_known_ids=lambda minutes: self._ids.get_minutes(partition, minutes, position=state.position, load=load),
        )

    def _get_event_types(self, decoded: DecodedRange) -> dict[int, EventType]:
        """By id. A type that we do not know may be newer than our topology."""
        types = {t.id: t for t in self._cluster.topology.event_types}
        if not np.isin(decoded.columns.type_ids, list(types)).all():
            self._cluster.refresh_topology()
            types = {t.id: t for t in self._cluster.topology.event_types}
        return types

    def _load_ids(self, partition: int, minutes: Collection[int], *, position: str) -> dict[int, KnownIds]:
        parameters = event_ids_parameters(partition, minutes)
        result = self._cluster.read(partition, READ_EVENT_IDS, parameters, consistency=Consistency.STRONG)
        parts: defaultdict[int, list[KnownIds]] = defaultdict(list)
        for row in result.rows:
            if row["position"] != position:
                raise PositionMoved(f"partition {partition} has moved on to {row['position']}")
            if row["minute"] is None:
                continue
            minute = int(row["minute"].timestamp()) // 60
            ids, contents = np.frombuffer(row["ids"], dtype="S16"), np.frombuffer(row["contents"], dtype="<u8")
            parts[minute].append(KnownIds(ids, contents))
        return {minute: KnownIds.join(blocks) for minute, blocks in parts.items()}

    def _flush(self, prepared: PreparedBatch) -> PreparedBatch:
        """Returns what was written: `prepared`, or what the poison handler made of it."""
        try:
            self._write(prepared)
        except REFUSED as error:
            prepared = self._poison.isolate(prepared, error)
            self._write(prepared)
        return prepared

    def _write(self, prepared: PreparedBatch) -> None:
        with self._cluster.transaction(prepared.batch.partition, query_class=QueryClass.FLUSH) as connection:
            new_videos = apply_flush(connection, prepared.batch, limits=self._settings.dead_letters)
            if new_videos:
                copies = self._find_copies(new_videos, partition=prepared.batch.partition)
                write_copies(connection, copies)


def _add_to_report(report: DrainReport, prepared: PreparedBatch) -> None:
    report.position = prepared.batch.new_position
    report.flush_count += 1
    report.counted += len(prepared.batch.counted)
    report.duplicate += prepared.duplicate_count
    report.conflict += prepared.conflict_count
    report.dead_letter_count += len(prepared.batch.dead_letters)

"""Builds the batch of one flush from log entries. Pure: same entries and same known ids, same batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from configservice.topology.model import EventType
from viewcounter.eventlog.codec import get_event, pack_entry, unpack_entries
from viewcounter.eventlog.interface import START, Entry, Position
from viewcounter.events.columns import Columns, concat_columns
from viewcounter.processing.aggregation import MICROSECONDS_PER_HOUR, aggregate, build_ledger, find_types
from viewcounter.processing.deduplication import KnownIdSource, Verdict, deduplicate
from viewcounter.processing.producers import Producers, Step
from viewcounter.storage.conflicts import Conflicts
from viewcounter.storage.dead_letter_limits import count_range
from viewcounter.storage.dead_letters import DeadLetter, RefusedEvent
from viewcounter.storage.flush_batch import FlushBatch, LedgerLine
from viewcounter.storage.log_sessions import LossReason, LostRange
from viewcounter.storage.partitions import PartitionState

UNREADABLE_ENTRY = "unreadable_entry"
UNKNOWN_EVENT_TYPE = "unknown_event_type"
TOO_LATE = "too_late"

NO_EVENTS = Columns(
    event_ids=np.empty(0, dtype="S16"),
    occurred_us=np.empty(0, dtype=np.int64),
    received_us=np.empty(0, dtype=np.int64),
    type_ids=np.empty(0, dtype=np.uint16),
    values=np.empty(0, dtype=np.int64),
    video_index=np.empty(0, dtype=np.uint32),
    viewers=np.empty(0, dtype=np.int64),
    videos=(),
)

NO_CONFLICTS = Conflicts(NO_EVENTS, np.empty(0, dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class DecodedRange:
    """Consecutive entries up to `end`: their events in log order, and dead letters of unreadable entries.

    `losses`: of terms that begin in it. `steps`: for the producers of the partition.
    """

    end: Position
    columns: Columns
    dead_letters: list[DeadLetter]
    losses: list[LostRange] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def join(cls, parts: "Sequence[DecodedRange]") -> "DecodedRange":
        """Joins consecutive ranges. Raises IndexError for none."""
        with_events = [part.columns for part in parts if len(part.columns)]
        return cls(
            end=parts[-1].end,
            columns=concat_columns(with_events) if with_events else NO_EVENTS,
            dead_letters=[letter for part in parts for letter in part.dead_letters],
            losses=[loss for part in parts for loss in part.losses],
            steps=[step for part in parts for step in part.steps],
        )


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch, and how its rows map to the events of its range.

    `is_dead` says of each event of the range, in the log's order, whether it becomes a dead letter; `counted_rows`
    is the place of each event of `batch.counted` in that order.
    """

    batch: FlushBatch
    is_dead: NDArray[np.bool_]
    counted_rows: NDArray[np.intp]
    duplicate_count: int
    conflict_count: int


def decode_entries(entries: Sequence[Entry], *, after: Position = START) -> DecodedRange:
    """The consecutive entries past `after`. Raises IndexError for none. An unreadable one becomes one dead letter."""
    packed = [entry for entry in entries if not entry.lost_before]
    columns, unreadable, links = unpack_entries([entry.payload for entry in packed])
    dead_letters = [
        DeadLetter(str(packed[number].position), UNREADABLE_ENTRY, str(error), payload=packed[number].payload)
        for number, error in sorted(unreadable.items())
    ]
    before = [after, *(entry.position for entry in entries)]
    losses = [
        LostRange(str(last), str(entry.position), LossReason.REPLACED)
        for last, entry in zip(before, entries, strict=False)
        if entry.lost_before
    ]
    steps: list[Step] = [(packed[number].position, link) for number, link in links.items()]
    breaks = [entry.position for entry in entries if entry.lost_before]
    breaks += [packed[number].position for number in unreadable]
    if breaks:
        steps = sorted([*steps, *((position, None) for position in breaks)], key=lambda step: step[0])
    return DecodedRange(entries[-1].position, columns, dead_letters, losses, steps)


def prepare_batch(
    decoded: DecodedRange,
    *,
    partition: int,
    state: PartitionState,
    event_types: Mapping[int, EventType],
    known: KnownIdSource,
    max_conflicts: int,
    complete_at: datetime | None,
) -> PreparedBatch:
    """Everything that one flush from `state.position` to `decoded.end` writes.

    `known` is as of `state.position`; the new ids are added to it. The first `max_conflicts` conflicts are stored. The
    watermark becomes `complete_at`, and stays unchanged without it.
    """
    is_known_type = _find_known_types(decoded.columns, event_types)
    # Accepted in time, but spooled for so long that its ids are removed: it may have been counted before.
    is_admitted = decoded.columns.occurred_us >= int(state.admits_since.timestamp()) * 1_000_000
    is_dead = ~(is_known_type & is_admitted)
    columns = decoded.columns.select(~is_dead)
    unknown = decoded.columns.select(~is_known_type)
    too_late = decoded.columns.select(is_known_type & ~is_admitted)
    verdict = deduplicate(columns, known)
    producers = Producers.unpack(state.producers, at=Position.parse(state.position))
    producers, missing = producers.take(decoded.steps)
    counted = columns.select(verdict.new)
    aggregated = aggregate(counted)
    used_types = find_types(counted)
    batch = FlushBatch(
        partition=partition,
        epoch=state.epoch,
        state=state.state,
        old_position=state.position,
        new_position=str(decoded.end),
        watermark=state.watermark if complete_at is None else complete_at,
        counted=counted.select(aggregated.order),  # rows of a video are adjacent: see the index of raw_event
        id_blocks=verdict.id_blocks,
        minutes=aggregated.minutes,
        totals=aggregated.totals,
        ledger=merge_lines(
            build_ledger(columns, verdict) + count_dead_lettered(unknown) + count_dead_lettered(too_late)
        ),
        dead_letters=[
            *decoded.dead_letters,
            *dead_letter_unknown_types(unknown, position=str(decoded.end)),
            *dead_letter_late(too_late, position=str(decoded.end), admits_since=state.admits_since),
        ],
        conflicts=_select_conflicts(columns, verdict, max_count=max_conflicts),
        tally=count_range(is_dead, unreadable_count=len(decoded.dead_letters)),
        event_types={type_id: event_types[type_id].name for type_id in used_types},
        log_session=state.log_session,
        losses=(*decoded.losses, *missing),
        producers=producers.pack(at=decoded.end),
    )
    return PreparedBatch(
        batch=batch,
        is_dead=is_dead,
        counted_rows=np.flatnonzero(~is_dead)[verdict.new][aggregated.order],
        duplicate_count=int(verdict.duplicate.sum()),
        conflict_count=int(verdict.conflict.sum()),
    )


def _find_known_types(columns: Columns, event_types: Mapping[int, EventType]) -> NDArray[np.bool_]:
    if all(type_id in event_types for type_id in find_types(columns)):
        return np.ones(len(columns), dtype=bool)
    return np.isin(columns.type_ids, list(event_types))


def _select_conflicts(columns: Columns, verdict: Verdict, *, max_count: int) -> Conflicts:
    rows = np.flatnonzero(verdict.conflict)[:max_count]
    return Conflicts(columns.select(rows), verdict.first_contents[rows])


def count_dead_lettered(columns: Columns) -> list[LedgerLine]:
    """Ledger lines of dead-lettered events."""
    hours, counts = np.unique(columns.occurred_us // MICROSECONDS_PER_HOUR, return_counts=True)
    return [
        LedgerLine(hour_us=hour * MICROSECONDS_PER_HOUR, dead_lettered=count)
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True)
    ]


def dead_letter_unknown_types(columns: Columns, *, position: str) -> list[DeadLetter]:
    return [
        build_dead_letter(
            columns,
            row,
            position=position,
            reason=UNKNOWN_EVENT_TYPE,
            detail=f"no event type has the id {columns.type_ids[row]}",
        )
        for row in range(len(columns))
    ]


def dead_letter_late(columns: Columns, *, position: str, admits_since: datetime) -> list[DeadLetter]:
    detail = f"happened before {admits_since.isoformat()}: whether it was counted before is no longer known"
    return [
        build_dead_letter(columns, row, position=position, reason=TOO_LATE, detail=detail)
        for row in range(len(columns))
    ]


def build_dead_letter(
    columns: Columns, row: int, *, position: str, reason: str, detail: str, sqlstate: str | None = None
) -> DeadLetter:
    """Dead letter of one event, in the log's format so that it can be replayed."""
    event = get_event(columns, row)
    one = columns.select(np.array([row]))
    alone = replace(one, videos=(event.video_id,), video_index=np.zeros(1, dtype=np.uint32))
    return DeadLetter(
        position=position,
        reason=reason,
        detail=detail,
        sqlstate=sqlstate,
        payload=pack_entry([event], received_us=int(one.received_us[0])),
        event=RefusedEvent(
            event_id=UUID(bytes=event.event_id),
            content=int(alone.content_digests()[0]),
            video_id=event.video_id,
            type_id=event.type_id,
            occurred_us=event.occurred_us,
            value=event.value,
        ),
    )


def merge_lines(lines: list[LedgerLine]) -> list[LedgerLine]:
    """One line per hour, ascending: an upsert must not contain a row twice."""
    merged = []
    for hour_us, group in groupby(sorted(lines, key=lambda line: line.hour_us), key=lambda line: line.hour_us):
        same_hour = list(group)
        merged.append(
            LedgerLine(
                hour_us=hour_us,
                counted=sum(line.counted for line in same_hour),
                duplicate=sum(line.duplicate for line in same_hour),
                conflict=sum(line.conflict for line in same_hour),
                dead_lettered=sum(line.dead_lettered for line in same_hour),
                digest=sum(line.digest for line in same_hour) % 2**64,
            )
        )
    return merged

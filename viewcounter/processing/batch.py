"""From log entries to the batch that one flush writes. Pure: same entries and same known ids, same batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import numpy as np

from configservice.topology import EventType
from viewcounter.eventlog.codec import AcceptedEvent, UnreadableEntry, pack_entry, unpack_entry
from viewcounter.eventlog.interface import Entry, Position
from viewcounter.events.columns import Columns, concat_columns
from viewcounter.processing.aggregation import MICROSECONDS_PER_HOUR, aggregate, build_ledger
from viewcounter.processing.deduplication import KnownIds, judge_batch, merge_known
from viewcounter.storage.flush import DeadLetter, FlushBatch, LedgerLine
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
    videos=(),
)

GetKnownIds = Callable[[set[int]], dict[int, KnownIds]]


@dataclass(frozen=True, slots=True)
class DecodedRange:
    """Consecutive entries up to `end`: their events in log order, and what could not be read."""

    end: Position
    columns: Columns
    dead_letters: list[DeadLetter]

    @classmethod
    def join(cls, parts: "Sequence[DecodedRange]") -> "DecodedRange":
        """Consecutive ranges as one. Raises IndexError for none."""
        with_events = [part.columns for part in parts if len(part.columns)]
        return cls(
            end=parts[-1].end,
            columns=concat_columns(with_events) if with_events else NO_EVENTS,
            dead_letters=[letter for part in parts for letter in part.dead_letters],
        )


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """`known` is what the id cache holds for the touched minutes once `batch` has committed."""

    batch: FlushBatch
    known: dict[int, KnownIds]
    duplicate_count: int
    conflict_count: int


def decode_entries(entries: Sequence[Entry]) -> DecodedRange:
    """Raises ValueError for no entries. An entry that cannot be read becomes a dead letter, whole."""
    parts, dead_letters = [], []
    for entry in entries:
        try:
            parts.append(unpack_entry(entry.payload))
        except UnreadableEntry as error:
            dead_letters.append(
                DeadLetter(str(entry.position), UNREADABLE_ENTRY, str(error), event_count=0, payload=entry.payload)
            )
    return DecodedRange(
        end=entries[-1].position, columns=concat_columns(parts) if parts else NO_EVENTS, dead_letters=dead_letters
    )


def prepare_batch(
    decoded: DecodedRange,
    *,
    partition: int,
    state: PartitionState,
    event_types: Mapping[int, EventType],
    get_known_ids: GetKnownIds,
) -> PreparedBatch:
    """Everything that one flush from `state.position` to `decoded.end` writes."""
    is_known_type = np.isin(decoded.columns.type_ids, list(event_types))
    # Accepted in time, but it waited so long outside the log that nobody knows any more whether it was counted.
    is_admitted = decoded.columns.occurred_us >= int(state.admits_since.timestamp() + 1) * 1_000_000
    columns = decoded.columns.select(is_known_type & is_admitted)
    unknown = decoded.columns.select(~is_known_type)
    too_late = decoded.columns.select(is_known_type & ~is_admitted)
    known = get_known_ids(set(np.unique(columns.id_minutes()).tolist()))
    verdict = judge_batch(columns, known)
    counted = columns.select(verdict.new)
    aggregated = aggregate(counted)
    used_types = np.unique(counted.type_ids).tolist()
    batch = FlushBatch(
        partition=partition,
        epoch=state.epoch,
        old_position=state.position,
        new_position=str(decoded.end),
        watermark=datetime.fromtimestamp(decoded.end.ms / 1000, UTC),
        counted=counted.select(aggregated.order),  # rows of a video lie together: see the index of raw_event
        id_blocks=verdict.id_blocks,
        minutes=aggregated.minutes,
        totals=aggregated.totals,
        ledger=_merge_lines(build_ledger(columns, verdict) + _count_dead(unknown) + _count_dead(too_late)),
        dead_letters=[
            *decoded.dead_letters,
            *_bury(unknown, position=str(decoded.end), reason=UNKNOWN_EVENT_TYPE),
            *_bury(too_late, position=str(decoded.end), reason=TOO_LATE),
        ],
        event_types={type_id: event_types[type_id].name for type_id in used_types},
    )
    return PreparedBatch(
        batch=batch,
        known=merge_known(known, verdict.id_blocks),
        duplicate_count=int(verdict.duplicate.sum()),
        conflict_count=int(verdict.conflict.sum()),
    )


def _count_dead(columns: Columns) -> list[LedgerLine]:
    hours, counts = np.unique(columns.occurred_us // MICROSECONDS_PER_HOUR, return_counts=True)
    return [
        LedgerLine(hour_us=hour * MICROSECONDS_PER_HOUR, dead_lettered=count)
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True)
    ]


def _bury(columns: Columns, *, position: str, reason: str) -> list[DeadLetter]:
    """One dead letter for each moment of receipt, in the log's own format so that it can be replayed."""
    letters = []
    for received_us in np.unique(columns.received_us).tolist():
        rows = columns.select(columns.received_us == received_us)
        events = [
            AcceptedEvent(bytes(event_id).ljust(16, b"\0"), columns.videos[video], type_id, occurred_us, value)
            for event_id, video, type_id, occurred_us, value in zip(
                rows.event_ids.tolist(),
                rows.video_index.tolist(),
                rows.type_ids.tolist(),
                rows.occurred_us.tolist(),
                rows.values.tolist(),
                strict=True,
            )
        ]
        types = sorted({event.type_id for event in events})
        payload = pack_entry(events, received_us=received_us)
        letters.append(DeadLetter(position, reason, f"event type ids {types}", len(events), payload))
    return letters


def _merge_lines(lines: list[LedgerLine]) -> list[LedgerLine]:
    """One line an hour, ascending: an upsert may not meet the same row twice."""
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

"""The state of one event: pending, counted, a duplicate, or refused with its reason.

A shard stores nothing of a copy that it did not count, so a copy is named by its position in the log, as
`POST /v1/events` returned it. Without a position the state is that of the id.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from clusterproxy.errors import PositionLost
from clusterproxy.freshness import FreshnessRequirement, Progress, Rows, find_lost
from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from viewcounter.eventlog.codec import UnreadableEntry, unpack_entry
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.events.columns import UUID_VERSION_7
from viewcounter.events.partition import get_partition
from viewcounter.queries.freshness import DEFAULT, PROBE, ReadOptions, parse_progress
from viewcounter.queries.meta import Meta, Source
from viewcounter.queries.reading import build_video_read, read
from viewcounter.storage.dead_letters import DeadLetterState
from viewcounter.storage.partitions import READ_STATES
from viewcounter.storage.receipts import RECEIPT_OF_EVENT

_UNIX_MS_SHIFT = 80
_LATEST_MS = 253_402_300_799_999  # the year 9999, where Python's time ends


class ReceiptState(StrEnum):
    PENDING = "pending"
    APPLIED = "applied"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD_LETTER = "dead_letter"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReceiptQuery:
    """`position` of the copy in the log. `occurred_at` avoids a search through all of the video's events."""

    event_id: UUID
    video_id: str
    position: Position | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows of one snapshot of the shard. Positions are the ends of the flushes that contained the id.

    `has_raw`: the event itself is stored. `letter`: state of the newest dead letter of the id, None without one.
    """

    seen: Position
    has_raw: bool = False
    counted_at: Position | None = None
    conflict_at: Position | None = None
    letter: DeadLetterState | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """`reason` is of a dead letter. Times are None unless the event itself is stored. `applied_through`: all entries of
    the partition's log up to there have been applied or refused."""

    query: ReceiptQuery
    state: ReceiptState
    partition: int
    applied_through: Position
    reason: str | None
    occurred_at: datetime | None
    received_at: datetime | None
    meta: Meta


def classify(evidence: Evidence, *, position: Position | None, waits_in_log: bool) -> ReceiptState:
    """Pure. Copies in one flush cannot be distinguished: all are applied, or in conflict if one is."""
    if position is not None and evidence.seen < position:
        return ReceiptState.PENDING
    if _is_conflict(evidence, position):
        return ReceiptState.CONFLICT
    counted_at = evidence.counted_at
    # The id alone may stand for an event of another video, which is what the conflict was about.
    if evidence.has_raw or (counted_at is not None and evidence.conflict_at is None):
        is_later_copy = position is not None and counted_at is not None and counted_at < position
        return ReceiptState.DUPLICATE if is_later_copy else ReceiptState.APPLIED
    if evidence.letter is not None and evidence.letter is not DeadLetterState.REPLAYED:
        return ReceiptState.DEAD_LETTER
    return ReceiptState.PENDING if waits_in_log or evidence.letter is not None else ReceiptState.UNKNOWN


def _is_conflict(evidence: Evidence, position: Position | None) -> bool:
    if evidence.conflict_at is None:
        return False
    if position is None:
        return True
    was_counted_before = evidence.counted_at is not None and position <= evidence.counted_at < evidence.conflict_at
    return position <= evidence.conflict_at and not was_counted_before


def get_receipt(
    cluster: ClusterProxy,
    log: EventLog,
    query: ReceiptQuery,
    *,
    max_log_entries: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
) -> Receipt:
    """Reads the shard, and the log's next `max_log_entries` entries if the shard has no trace of the event.

    Raises what reads raise, and PositionLost for an event without a trace whose entry the log has lost.
    """
    partition = get_partition(query.video_id, partition_count=cluster.topology.partition_count)
    request = build_video_read(
        cluster,
        RECEIPT_OF_EVENT,
        {
            "event_id": query.event_id,
            "occurred_at": query.occurred_at,
            "minute": find_id_minute(query.event_id, occurred_at=query.occurred_at),
        },
        video_id=query.video_id,
        options=options,
    )
    reading = read(request, now=now)
    row = reading.rows[0]
    evidence = read_evidence(row)
    state = classify(evidence, position=query.position, waits_in_log=False)
    if state is ReceiptState.UNKNOWN and query.position is not None:
        _check_not_lost(partition, query.position, reading.rows)
    if state is ReceiptState.UNKNOWN:
        waits = is_waiting(log, partition, query.event_id, after=evidence.seen, max_entries=max_log_entries)
        state = classify(evidence, position=query.position, waits_in_log=waits)
    return Receipt(
        query=query,
        state=state,
        partition=partition,
        applied_through=evidence.seen,
        reason=row["letter_reason"] if state is ReceiptState.DEAD_LETTER else None,
        occurred_at=_find_utc(row["occurred_at"]),
        received_at=_find_utc(row["received_at"]),
        meta=reading.build_meta(sources=[Source.RAW], now=now),
    )


def _check_not_lost(partition: int, position: Position, rows: Rows) -> None:
    requirement = FreshnessRequirement(PROBE, min_positions={partition: position})
    lost = find_lost(requirement, parse_progress(rows), partitions=[partition])
    if lost is not None:
        raise PositionLost(lost)


def find_id_minute(event_id: UUID, *, occurred_at: datetime | None) -> datetime | None:
    """The minute under which shards keep the id, as `events.columns.get_id_minutes` has it; None if it takes
    the event to know."""
    if (event_id.int >> 76) & 0xF == UUID_VERSION_7:
        at_ms = event_id.int >> _UNIX_MS_SHIFT
        return None if at_ms > _LATEST_MS else datetime.fromtimestamp(at_ms // 60_000 * 60, UTC)
    return None if occurred_at is None else occurred_at.astimezone(UTC).replace(second=0, microsecond=0)


def read_evidence(row: Mapping[str, Any]) -> Evidence:
    """From the row of RECEIPT_OF_EVENT."""
    return Evidence(
        seen=Position.parse(row["position"]),
        has_raw=row["received_at"] is not None,
        counted_at=_find_position(row["counted_position"]),
        conflict_at=_find_position(row["conflict_position"]),
        letter=None if row["letter_state"] is None else DeadLetterState(row["letter_state"]),
    )


def is_waiting(log: EventLog, partition: int, event_id: UUID, *, after: Position, max_entries: int) -> bool:
    """Whether the id is among the next entries. False as well when the log does not answer."""
    try:
        entries = log.read(partition, after=after, max_entries=max_entries)
    except EventLogError:
        return False
    return any(_has_event(entry.payload, event_id.bytes) for entry in entries)


def _has_event(payload: bytes, event_id: bytes) -> bool:
    if event_id not in payload:
        return False
    try:
        raw = unpack_entry(payload).event_ids.tobytes()
    except UnreadableEntry:
        return False
    return any(raw[start : start + len(event_id)] == event_id for start in range(0, len(raw), len(event_id)))


def read_applied(cluster: ClusterProxy, partitions: Collection[int], *, deadline_seconds: float) -> dict[int, Progress]:
    """What the primaries have applied; partitions of shards that do not answer are left out."""
    scattered = cluster.scatter(
        READ_STATES, {}, partitions=partitions, consistency=Consistency.STRONG, deadline_seconds=deadline_seconds
    )
    rows = [row for result in scattered.results.values() for row in result.rows]
    return {p: progress for p, progress in parse_progress(rows).items() if p in partitions}


def _find_position(text: str | None) -> Position | None:
    return None if text is None else Position.parse(text)


def _find_utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)

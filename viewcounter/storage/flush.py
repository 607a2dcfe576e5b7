"""The flush: one transaction that moves a partition's position and writes everything that this implies.

Invariant: either `position` moves from old to new and every raw row, id, aggregate, ledger line, dead letter and dirty
mark of that range is written, or nothing is. Only corrections (`recount`) may write counts elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, Columns
from viewcounter.storage import binary
from viewcounter.storage.conflicts import Conflicts, insert_conflicts
from viewcounter.storage.dead_letter_limits import Tally, build_window_change, check_dead_letters, lock_window
from viewcounter.storage.dead_letters import DeadLetter, insert_dead_letters
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import OWNED
from viewcounter.storage.settings import DeadLetterLimits

_SQL = load_queries("flush.sql")

READ_EVENT_IDS = replace(load_queries("partitions.sql")["read_event_ids"], binary=True)
"""The ids that a flush is de-duplicated against, together with the state row of their partition.

Parameters: those of `event_ids_parameters`. Rows: position, minute, id_count; after the given position also ids and
contents. One row without a minute if the shard has none of the minutes.
"""


@dataclass(frozen=True, slots=True)
class Aggregates:
    """One row for each key; keys are sorted and distinct. `starts_us` is empty for all-time totals.

    `video_index` points into the batch's `videos`; sums, mins and maxs are thousandths. `has_overflowed`: a sum is
    wrong because it needs more than 64 bits.
    """

    video_index: NDArray[Any]
    type_ids: NDArray[Any]
    starts_us: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    mins: NDArray[np.int64]
    maxs: NDArray[np.int64]
    has_overflowed: bool = False

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, slots=True)
class IdBlock:
    """The new ids of one minute: `ids` S16 and `contents` uint64, aligned, sorted by id."""

    minute: int
    ids: NDArray[Any]
    contents: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """received = counted + duplicate + conflict + dead_lettered, for events of one hour (microseconds since 1970)."""

    hour_us: int
    counted: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead_lettered: int = 0
    digest: int = 0

    @property
    def received(self) -> int:
        return self.counted + self.duplicate + self.conflict + self.dead_lettered


@dataclass(frozen=True, slots=True)
class FlushBatch:
    """Everything that one flush writes for `(old_position, new_position]` of a partition. Positions are `ms-seq`.

    `state` is the state that the partition's row must have: owned, or incoming for a copy that is catching up.
    """

    partition: int
    epoch: int
    old_position: str
    new_position: str
    watermark: datetime
    counted: Columns
    id_blocks: list[IdBlock]
    minutes: Aggregates
    totals: Aggregates
    ledger: list[LedgerLine]
    dead_letters: list[DeadLetter]
    conflicts: Conflicts
    tally: Tally
    event_types: dict[int, str]
    state: str = OWNED


def event_ids_parameters(partition: int, held_through: Mapping[int, str | None]) -> dict[str, Any]:
    """Parameters of READ_EVENT_IDS. `held_through`: by minute since 1970 UTC, the position up to which its ids are
    cached, if any."""
    minutes = sorted(held_through)
    starts = np.array(minutes, dtype=np.int64) * MICROSECONDS_PER_MINUTE
    return {
        "partition": partition,
        "minutes": binary.timestamps(starts),
        "held_through": [held_through[minute] for minute in minutes],
    }


_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last one of Python's datetime."""

Connection = psycopg.Connection[Any]
Step = Callable[[Connection, FlushBatch], None]


def apply_flush(connection: Connection, batch: FlushBatch, *, limits: DeadLetterLimits) -> list[str]:
    """Run the flush inside the caller's open transaction on the partition's primary.

    Returns the videos that are new on this shard. Raises PositionMoved when the compare-and-set misses, and
    TooManyDeadLetters, both with nothing written; the caller rolls back.
    """
    return write_content(connection, batch, rolled_through=advance_position(connection, batch, limits=limits))


def write_content(connection: Connection, batch: FlushBatch, *, rolled_through: datetime) -> list[str]:
    """Everything of a flush except the compare-and-set, which must have succeeded in this transaction."""
    new_videos = _ensure_videos(connection, batch)
    for step in STEPS:
        step(connection, batch)
    if len(batch.minutes) and int(batch.minutes.starts_us.min()) < rolled_through.timestamp() * 1_000_000:
        _mark_dirty(connection, batch, rolled_through)
    return new_videos


def advance_position(connection: Connection, batch: FlushBatch, *, limits: DeadLetterLimits) -> datetime:
    """The compare-and-set. Returns `rolled_through`; raises the errors of `apply_flush`."""
    allowed = False
    if batch.tally.dead:
        window = lock_window(
            connection,
            partition=batch.partition,
            old_position=batch.old_position,
            epoch=batch.epoch,
            state=batch.state,
            limits=limits,
        )
        check_dead_letters(window, batch.tally, limits)
        allowed = batch.tally.dead <= window.allowance
    row = connection.execute(
        _SQL["advance_position"].text,
        {
            "partition": batch.partition,
            "epoch": batch.epoch,
            "state": batch.state,
            "old_position": batch.old_position,
            "new_position": batch.new_position,
            "watermark": batch.watermark,
            "oldest": _find_oldest(batch),
            **build_window_change(batch.tally, allowed=allowed, limits=limits),
        },
    ).fetchone()
    if row is None:
        raise PositionMoved(f"partition {batch.partition} is no longer at {batch.old_position}, epoch {batch.epoch}")
    rolled_through: datetime = row["rolled_through"]
    return rolled_through


def _find_oldest(batch: FlushBatch) -> datetime | None:
    if not len(batch.counted):
        return None
    oldest_seconds = int(batch.counted.occurred_us.min()) // 1_000_000
    return datetime.fromtimestamp(min(oldest_seconds, _LAST_SECOND), UTC)


def _ensure_videos(connection: Connection, batch: FlushBatch) -> list[str]:
    """Before all rows that refer to videos. Returns the new ones."""
    if not len(batch.totals):
        return []
    touched = np.unique(batch.totals.video_index)
    rows = connection.execute(
        _SQL["ensure_videos"].text,
        {"partition": batch.partition, "video_ids": binary.texts_at(batch.counted.videos, touched)},
    )
    return [row["video_id"] for row in rows]


def _copy_raw_events(connection: Connection, batch: FlushBatch) -> None:
    if not len(batch.counted):
        return
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_raw_events"].text) as copy:
        copy.write(binary.copy_rows(batch.counted, partition=batch.partition))


def _insert_event_ids(connection: Connection, batch: FlushBatch) -> None:
    if not batch.id_blocks:
        return
    connection.execute(
        _SQL["insert_event_ids"].text,
        {
            "partition": batch.partition,
            "position": batch.new_position,
            "minutes": binary.timestamps(
                np.array([b.minute for b in batch.id_blocks], dtype=np.int64) * MICROSECONDS_PER_MINUTE
            ),
            "ids": binary.byteas([b.ids.tobytes() for b in batch.id_blocks]),
            "contents": binary.byteas([b.contents.astype("<u8").tobytes() for b in batch.id_blocks]),
        },
    )


def _add_aggregates(connection: Connection, batch: FlushBatch) -> None:
    if not len(batch.totals):
        return
    connection.execute(
        _SQL["ensure_event_types"].text,
        {"ids": list(batch.event_types), "names": list(batch.event_types.values())},
    )
    if batch.minutes.has_overflowed or batch.totals.has_overflowed:
        raise psycopg.errors.NumericValueOutOfRange("a sum within the flush needs more than 64 bits")
    connection.execute(_SQL["add_minutes"].text, _aggregate_parameters(batch, batch.minutes))
    connection.execute(_SQL["add_totals"].text, _aggregate_parameters(batch, batch.totals))


def _aggregate_parameters(batch: FlushBatch, aggregates: Aggregates) -> dict[str, Any]:
    return {
        "partition": batch.partition,
        "video_ids": binary.texts_at(batch.counted.videos, aggregates.video_index),
        "type_ids": binary.smallints(aggregates.type_ids),
        "starts": binary.timestamps(aggregates.starts_us),
        "counts": binary.bigints(aggregates.counts),
        "sums": binary.bigints(aggregates.sums),
        "mins": binary.bigints(aggregates.mins),
        "maxs": binary.bigints(aggregates.maxs),
    }


def _add_ledger(connection: Connection, batch: FlushBatch) -> None:
    if not batch.ledger:
        return
    connection.execute(
        _SQL["add_ledger"].text,
        {
            "partition": batch.partition,
            "hours": binary.timestamps(np.array([line.hour_us for line in batch.ledger], dtype=np.int64)),
            "received": [line.received for line in batch.ledger],
            "counted": [line.counted for line in batch.ledger],
            "duplicate": [line.duplicate for line in batch.ledger],
            "conflict": [line.conflict for line in batch.ledger],
            "dead_lettered": [line.dead_lettered for line in batch.ledger],
            "digests": [Decimal(line.digest) for line in batch.ledger],
        },
    )


def _insert_dead_letters(connection: Connection, batch: FlushBatch) -> None:
    if batch.dead_letters:
        insert_dead_letters(connection, batch.dead_letters, partition=batch.partition)


def _insert_conflicts(connection: Connection, batch: FlushBatch) -> None:
    if len(batch.conflicts.events):
        insert_conflicts(connection, batch.conflicts, partition=batch.partition, position=batch.new_position)


def _mark_dirty(connection: Connection, batch: FlushBatch, rolled_through: datetime) -> None:
    parameters = _aggregate_parameters(batch, batch.minutes)
    names = ("partition", "video_ids", "type_ids", "starts")
    connection.execute(
        _SQL["mark_dirty"].text, {name: parameters[name] for name in names} | {"rolled_through": rolled_through}
    )


STEPS: list[Step] = [
    _copy_raw_events,
    _insert_event_ids,
    _add_aggregates,
    _add_ledger,
    _insert_dead_letters,
    _insert_conflicts,
]
"""Run in this order after the compare-and-set. A list, so that tests can fail the flush between any two."""

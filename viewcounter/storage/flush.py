"""The flush: one transaction that moves a partition's position and writes everything this implies.

Invariant (DESIGN: the partition and its state row): either `position` moves from old to new and every raw
row, id, aggregate, ledger line, dead letter and dirty mark of that range is written, or nothing is. Anything
that writes counts elsewhere is a defect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, Columns
from viewcounter.storage import binary
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("flush.sql")


@dataclass(frozen=True, slots=True)
class Aggregates:
    """One row a key, keys sorted and distinct. `starts_us` is empty for all-time totals.

    `video_index` points into the batch's `videos`; sums, mins and maxs are thousandths.
    """

    video_index: NDArray[Any]
    type_ids: NDArray[Any]
    starts_us: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    mins: NDArray[np.int64]
    maxs: NDArray[np.int64]

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
class DeadLetter:
    """Events that can never be counted as they are; `payload` is a packed entry, or the bytes that were none."""

    position: str
    reason: str
    detail: str
    event_count: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class FlushBatch:
    """Everything one flush writes for `(old_position, new_position]` of a partition. Positions are `ms-seq`."""

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
    event_types: dict[int, str]


Connection = psycopg.Connection[Any]
Step = Callable[[Connection, FlushBatch], None]


def apply_flush(connection: Connection, batch: FlushBatch) -> None:
    """Run the flush inside the caller's open transaction on the partition's primary.

    Raises PositionMoved, with nothing written, when the compare-and-set misses; the caller rolls back.
    """
    rolled_through = _advance_position(connection, batch)
    for step in STEPS:
        step(connection, batch)
    if len(batch.minutes) and int(batch.minutes.starts_us.min()) < rolled_through.timestamp() * 1_000_000:
        _mark_dirty(connection, batch, rolled_through)


def _advance_position(connection: Connection, batch: FlushBatch) -> datetime:
    row = connection.execute(
        _SQL["advance_position"].text,
        {
            "partition": batch.partition,
            "epoch": batch.epoch,
            "old_position": batch.old_position,
            "new_position": batch.new_position,
            "watermark": batch.watermark,
            "oldest": _find_oldest(batch),
        },
    ).fetchone()
    if row is None:
        raise PositionMoved(f"partition {batch.partition} is no longer at {batch.old_position}, epoch {batch.epoch}")
    rolled_through: datetime = row["rolled_through"]
    return rolled_through


def _find_oldest(batch: FlushBatch) -> datetime | None:
    if not len(batch.counted):
        return None
    return datetime.fromtimestamp(int(batch.counted.occurred_us.min()) // 1_000_000, UTC)


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
    touched = np.unique(batch.totals.video_index)
    connection.execute(
        _SQL["ensure_videos"].text,
        {"partition": batch.partition, "video_ids": binary.texts([batch.counted.videos[i] for i in touched])},
    )
    connection.execute(_SQL["add_minutes"].text, _aggregate_parameters(batch, batch.minutes))
    connection.execute(_SQL["add_totals"].text, _aggregate_parameters(batch, batch.totals))


def _aggregate_parameters(batch: FlushBatch, aggregates: Aggregates) -> dict[str, Any]:
    videos = batch.counted.videos
    return {
        "partition": batch.partition,
        "video_ids": binary.texts([videos[i] for i in aggregates.video_index.tolist()]),
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
    if not batch.dead_letters:
        return
    connection.execute(
        _SQL["insert_dead_letters"].text,
        {
            "partition": batch.partition,
            "positions": [letter.position for letter in batch.dead_letters],
            "reasons": [letter.reason for letter in batch.dead_letters],
            "details": [letter.detail for letter in batch.dead_letters],
            "event_counts": [letter.event_count for letter in batch.dead_letters],
            "payloads": binary.byteas([letter.payload for letter in batch.dead_letters]),
        },
    )


def _mark_dirty(connection: Connection, batch: FlushBatch, rolled_through: datetime) -> None:
    parameters = _aggregate_parameters(batch, batch.minutes)
    names = ("partition", "video_ids", "type_ids", "starts")
    connection.execute(
        _SQL["mark_dirty"].text, {name: parameters[name] for name in names} | {"rolled_through": rolled_through}
    )


STEPS: list[Step] = [_copy_raw_events, _insert_event_ids, _add_aggregates, _add_ledger, _insert_dead_letters]
"""In this order after the compare-and-set; a list so that tests can fail the flush between any two."""

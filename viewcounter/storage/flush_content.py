"""What a flush writes besides the state rows: one statement a table for the batches of all its partitions.

Batches come in ascending order of their partitions. Rows that partitions share (`video`, `event_type`) are written in
the order of their keys, so that flushes of other partitions wait for each other instead of deadlocking.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE
from viewcounter.storage import binary
from viewcounter.storage.conflicts import insert_conflicts
from viewcounter.storage.dead_letters import insert_dead_letters
from viewcounter.storage.flush_batch import Aggregates, FlushBatch
from viewcounter.storage.log_sessions import insert_log_losses
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("flush.sql")

Connection = psycopg.Connection[Any]
Batches = Sequence[FlushBatch]
Step = Callable[[Connection, Batches], None]
PickAggregates = Callable[[FlushBatch], Aggregates]


def write_content(
    connection: Connection, batches: Batches, *, rolled_through: Mapping[int, datetime]
) -> dict[str, int]:
    """Everything of a flush except the compare-and-set, which must have succeeded in this transaction.

    `rolled_through` by partition. Returns the videos that are new on this shard, with their partitions.
    """
    new_videos = _ensure_videos(connection, batches)
    for step in STEPS:
        step(connection, batches)
    late = [batch for batch in batches if _is_late(batch, rolled_through[batch.partition])]
    if late:
        _mark_dirty(connection, late, rolled_through)
    return new_videos


def _is_late(batch: FlushBatch, rolled_through: datetime) -> bool:
    return len(batch.minutes) > 0 and int(batch.minutes.starts_us.min()) < rolled_through.timestamp() * 1_000_000


def _ensure_videos(connection: Connection, batches: Batches) -> dict[str, int]:
    """Before all rows that refer to videos. Returns the new ones."""
    touched = sorted(
        (batch.counted.videos[place], batch.partition)
        for batch in batches
        for place in np.flatnonzero(np.bincount(batch.totals.video_index)).tolist()
    )
    if not touched:
        return {}
    rows = connection.execute(
        _SQL["ensure_videos"].text,
        {
            "video_ids": binary.texts([video for video, _ in touched]),
            "partitions": binary.smallints(np.array([partition for _, partition in touched])),
        },
    )
    return {row["video_id"]: row["partition"] for row in rows}


def _copy_raw_events(connection: Connection, batches: Batches) -> None:
    parts = [(batch.counted, batch.partition) for batch in batches if len(batch.counted)]
    if not parts:
        return
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_raw_events"].text) as copy:
        copy.write(binary.copy_rows(parts))


def _insert_event_ids(connection: Connection, batches: Batches) -> None:
    blocks = [(batch, block) for batch in batches for block in batch.id_blocks]
    if not blocks:
        return
    minutes = np.array([block.minute for _, block in blocks], dtype=np.int64)
    connection.execute(
        _SQL["insert_event_ids"].text,
        {
            "partitions": binary.smallints(np.array([batch.partition for batch, _ in blocks])),
            "positions": binary.texts(batch.new_position for batch, _ in blocks),
            "minutes": binary.timestamps(minutes * MICROSECONDS_PER_MINUTE),
            "ids": binary.byteas([block.ids.tobytes() for _, block in blocks]),
            "contents": binary.byteas([block.contents.astype("<u8").tobytes() for _, block in blocks]),
        },
    )


def _ensure_event_types(connection: Connection, batches: Batches) -> None:
    names = {type_id: name for batch in batches for type_id, name in batch.event_types.items()}
    if not names:
        return
    ids = sorted(names)
    connection.execute(_SQL["ensure_event_types"].text, {"ids": ids, "names": [names[type_id] for type_id in ids]})


def _add_aggregates(connection: Connection, batches: Batches) -> None:
    if any(batch.minutes.has_overflowed or batch.totals.has_overflowed for batch in batches):
        raise psycopg.errors.NumericValueOutOfRange("a sum within the flush needs more than 64 bits")
    counting = [batch for batch in batches if len(batch.totals)]
    if not counting:
        return
    connection.execute(_SQL["add_minutes"].text, _aggregate_parameters(counting, lambda batch: batch.minutes))
    connection.execute(_SQL["add_totals"].text, _aggregate_parameters(counting, lambda batch: batch.totals))


def _aggregate_parameters(batches: Batches, pick: PickAggregates) -> dict[str, Any]:
    """Rows sorted by partition, video, type and minute: the order of the primary key."""

    def join(get: Callable[[Aggregates], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([get(pick(batch)) for batch in batches])

    return {
        "partitions": binary.smallints(_repeat((batch.partition, len(pick(batch))) for batch in batches)),
        "video_ids": binary.texts_at((batch.counted.videos, pick(batch).video_index) for batch in batches),
        "type_ids": binary.smallints(join(lambda rows: rows.type_ids)),
        "starts": binary.timestamps(join(lambda rows: rows.starts_us)),
        "counts": binary.bigints(join(lambda rows: rows.counts)),
        "sums": binary.bigints(join(lambda rows: rows.sums)),
        "mins": binary.bigints(join(lambda rows: rows.mins)),
        "maxs": binary.bigints(join(lambda rows: rows.maxs)),
    }


def _repeat(runs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Each value as often as its count says."""
    values, counts = zip(*runs, strict=True)
    return np.repeat(np.array(values, dtype=np.int64), counts)


def _add_ledger(connection: Connection, batches: Batches) -> None:
    lines = [(batch.partition, line) for batch in batches for line in batch.ledger]
    if not lines:
        return
    connection.execute(
        _SQL["add_ledger"].text,
        {
            "partitions": [partition for partition, _ in lines],
            "hours": binary.timestamps(np.array([line.hour_us for _, line in lines], dtype=np.int64)),
            "received": [line.received for _, line in lines],
            "counted": [line.counted for _, line in lines],
            "duplicate": [line.duplicate for _, line in lines],
            "conflict": [line.conflict for _, line in lines],
            "dead_lettered": [line.dead_lettered for _, line in lines],
            "digests": [Decimal(line.digest) for _, line in lines],
        },
    )


def _insert_dead_letters(connection: Connection, batches: Batches) -> None:
    for batch in batches:
        if batch.dead_letters:
            insert_dead_letters(connection, batch.dead_letters, partition=batch.partition)


def _insert_log_losses(connection: Connection, batches: Batches) -> None:
    insert_log_losses(connection, [(batch.partition, loss) for batch in batches for loss in batch.losses])


def _insert_conflicts(connection: Connection, batches: Batches) -> None:
    for batch in batches:
        if len(batch.conflicts.events):
            insert_conflicts(connection, batch.conflicts, partition=batch.partition, position=batch.new_position)


def _mark_dirty(connection: Connection, batches: Batches, rolled_through: Mapping[int, datetime]) -> None:
    parameters = _aggregate_parameters(batches, lambda batch: batch.minutes)
    rolled_us = _repeat(
        (int(rolled_through[batch.partition].timestamp()) * 1_000_000, len(batch.minutes)) for batch in batches
    )
    names = ("partitions", "video_ids", "type_ids", "starts")
    connection.execute(
        _SQL["mark_dirty"].text,
        {name: parameters[name] for name in names} | {"rolled_through": binary.timestamps(rolled_us)},
    )


STEPS: list[Step] = [
    _copy_raw_events,
    _insert_event_ids,
    _ensure_event_types,
    _add_aggregates,
    _add_ledger,
    _insert_dead_letters,
    _insert_conflicts,
    _insert_log_losses,
]
"""Run in this order after the compare-and-set. A list, so that tests can fail the flush between any two."""

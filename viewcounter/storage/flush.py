"""The flush: one transaction that moves the positions of partitions of one shard and writes all that this implies.

Invariant: for each of its partitions, either `position` moves from old to new and every raw row, id, aggregate, ledger
line, dead letter and dirty mark of that range is written, or nothing is. Only corrections (`recount`) may write counts
elsewhere.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE
from viewcounter.storage import binary
from viewcounter.storage.dead_letter_limits import build_window_change, check_dead_letters, lock_window
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.flush_batch import FlushBatch
from viewcounter.storage.flush_content import write_content
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.settings import DeadLetterLimits

_SQL = load_queries("flush.sql")

READ_EVENT_IDS = replace(load_queries("partitions.sql")["read_event_ids"], binary=True)
"""The ids that a flush is de-duplicated against, together with the state row of their partition.

Parameters: those of `event_ids_parameters`. Rows: position, minute, id_count; after the given position also ids and
contents. One row without a minute if the shard has none of the minutes.
"""

_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last one of Python's datetime."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Flushed:
    """`partitions` whose positions have moved, if the transaction commits. `new_videos`: those that the shard did not
    have, with their partitions."""

    partitions: frozenset[int]
    new_videos: Mapping[str, int]


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


def apply_flush(connection: Connection, batch: FlushBatch, *, limits: DeadLetterLimits, waits: bool = True) -> Flushed:
    """Run the flush of one partition inside the caller's open transaction on its primary.

    Raises PositionMoved when the compare-and-set misses, or without `waits` when another transaction holds the state
    row, and TooManyDeadLetters; each with nothing written, the caller rolls back.
    """
    if not waits and not _lock_free_rows(connection, [batch]):
        raise PositionMoved(f"the state row of partition {batch.partition} is locked by another transaction")
    rolled_through = advance_position(connection, batch, limits=limits)
    new_videos = write_content(connection, [batch], rolled_through={batch.partition: rolled_through})
    return Flushed(frozenset({batch.partition}), new_videos)


def apply_joint_flush(connection: Connection, batches: Sequence[FlushBatch], *, limits: DeadLetterLimits) -> Flushed:
    """Run one flush for several partitions of a shard inside the caller's open transaction on its primary.

    A partition whose row another transaction holds, or that is not where its batch begins, is left out: nothing of it
    is written. Raises ValueError for a batch with dead letters, whose limits only a flush of its own checks.
    """
    if any(batch.tally.dead for batch in batches):
        raise ValueError("a batch with dead letters needs a flush of its own")
    free = _lock_free_rows(connection, batches)
    ordered = sorted((b for b in batches if b.partition in free), key=lambda batch: batch.partition)
    rolled_through = _advance_positions(connection, ordered, limits=limits, allowed=())
    taken = [batch for batch in ordered if batch.partition in rolled_through]
    if not taken:
        return Flushed(frozenset(), {})
    return Flushed(frozenset(rolled_through), write_content(connection, taken, rolled_through=rolled_through))


def _lock_free_rows(connection: Connection, batches: Sequence[FlushBatch]) -> frozenset[int]:
    """The partitions whose state rows no other transaction holds; they are locked now."""
    rows = connection.execute(_SQL["lock_free_rows"].text, {"partitions": [batch.partition for batch in batches]})
    return frozenset(row["partition"] for row in rows)


def advance_position(connection: Connection, batch: FlushBatch, *, limits: DeadLetterLimits) -> datetime:
    """The compare-and-set of one partition. Returns `rolled_through`; raises the errors of `apply_flush`."""
    allowed = []
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
        if batch.tally.dead <= window.allowance:
            allowed.append(batch.partition)
    rolled_through = _advance_positions(connection, [batch], limits=limits, allowed=allowed)
    if batch.partition not in rolled_through:
        raise PositionMoved(f"partition {batch.partition} is no longer at {batch.old_position}, epoch {batch.epoch}")
    return rolled_through[batch.partition]


def _advance_positions(
    connection: Connection, batches: Sequence[FlushBatch], *, limits: DeadLetterLimits, allowed: Collection[int]
) -> dict[int, datetime]:
    """The compare-and-set. Returns `rolled_through` of each partition whose position has moved. `allowed`: partitions
    whose dead letters an operator has allowed."""
    changes = [build_window_change(b.tally, allowed=b.partition in allowed) for b in batches]
    rows = connection.execute(
        _SQL["advance_positions"].text,
        {
            "window_seconds": limits.window_seconds,
            "partitions": [batch.partition for batch in batches],
            "epochs": [batch.epoch for batch in batches],
            "states": [batch.state for batch in batches],
            "old_positions": [batch.old_position for batch in batches],
            "new_positions": [batch.new_position for batch in batches],
            "watermarks": [batch.watermark for batch in batches],
            "oldest": [_find_oldest(batch) for batch in batches],
            "read": [change.read for change in changes],
            "dead": [change.dead for change in changes],
            "run": [change.run for change in changes],
            "run_goes_on": [change.run_goes_on for change in changes],
            "allowed": [change.allowed for change in changes],
            "sessions": [batch.log_session for batch in batches],
            "producers": [batch.producers for batch in batches],
        },
    )
    return {row["partition"]: row["rolled_through"] for row in rows}


def _find_oldest(batch: FlushBatch) -> datetime | None:
    if not len(batch.counted):
        return None
    oldest_seconds = int(batch.counted.occurred_us.min()) // 1_000_000
    return datetime.fromtimestamp(min(oldest_seconds, _LAST_SECOND), UTC)

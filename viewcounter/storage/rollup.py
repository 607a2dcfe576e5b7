"""Rollup of one partition: hours and days are replaced from minutes, days without minutes from hours.

Invariant: a bucket that ends at or before `rolled_through` and is not marked in `rollup_dirty` equals the minutes below
it. Each function here runs in the caller's transaction after `lock_rollup`. The row lock puts it before or after every
flush of the partition: a late event that commits before is in the minutes read here; one that commits after finds the
new `rolled_through` and leaves a mark. Replacing is idempotent: it may run twice, concurrently, or stop anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import psycopg

from viewcounter.storage.errors import PartitionNotHere
from viewcounter.storage.named_sql import derive_query, load_queries

_SQL = load_queries("rollup.sql")
_MARKED_DAYS = """\
    FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[])
        AS u (video_id, type_id, start)
"""
_EVERY_VIDEO_OF_A_DAY = """\
    FROM (
        SELECT DISTINCT video_id, event_type_id AS type_id, %(start)s::timestamptz AS start FROM event_hour
        WHERE partition = %(partition)s AND start >= %(start)s AND start < %(start)s + interval '24 hours'
    ) AS u
"""
_INSERT_DAY = derive_query(_SQL["insert_dirty_days"], name="insert_day", changes={_MARKED_DAYS: _EVERY_VIDEO_OF_A_DAY})

READ_ROLLUP_BACKLOG = _SQL["read_rollup_backlog"]
"""Parameters: partitions. A row each: partition, state, watermark, rolled_through, is_being_moved, dirty_hours,
dirty_days."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Connection = psycopg.Connection[Any]


class DirtyTier(StrEnum):
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class RollupState:
    """A partition's row, locked until the transaction ends."""

    epoch: int
    state: str
    watermark: datetime
    rolled_through: datetime
    admits_since: datetime
    minutes_since: datetime
    hours_since: datetime
    is_being_moved: bool = False


@dataclass(frozen=True, slots=True)
class RollupStep:
    """Replace `hour` and close `day`, where they are not None; then set `rolled_through`."""

    hour: datetime | None
    day: datetime | None
    rolled_through: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """A dirty bucket of one tier, by its start."""

    video_id: str
    event_type_id: int
    start: datetime


def lock_rollup(connection: Connection, partition: int) -> RollupState:
    """Raises PartitionNotHere."""
    row = connection.execute(_SQL["lock_rollup"].text, {"partition": partition}).fetchone()
    if row is None:
        raise PartitionNotHere(f"partition {partition} has no state row on its shard")
    return RollupState(
        epoch=row["epoch"],
        state=row["state"],
        watermark=row["watermark"].astimezone(UTC),
        rolled_through=row["rolled_through"].astimezone(UTC),
        admits_since=row["admits_since"].astimezone(UTC),
        minutes_since=row["minutes_since"].astimezone(UTC),
        hours_since=row["hours_since"].astimezone(UTC),
        is_being_moved=row["is_being_moved"],
    )


def find_next_hour(connection: Connection, partition: int, *, first: datetime) -> datetime | None:
    """The first hour with events at or after `first`."""
    row = connection.execute(_SQL["find_next_hour"].text, {"partition": partition, "first": first}).fetchone()
    return None if row is None else row["hour"].astimezone(UTC)


def apply_step(connection: Connection, partition: int, step: RollupStep) -> None:
    if step.hour is not None:
        _run(connection, "delete_hour", partition, start=step.hour)
        _run(connection, "insert_hour", partition, start=step.hour)
        _mark_sketches_due(connection, partition, DirtyTier.HOUR, [step.hour])
    if step.day is not None:
        _run(connection, "delete_day", partition, start=step.day)
        connection.execute(_INSERT_DAY.text, {"partition": partition, "start": step.day})
        _run(connection, "mark_day_of_dirty_hours", partition, start=step.day)
        _run(connection, "mark_unsplit_days", partition)
        _mark_sketches_due(connection, partition, DirtyTier.DAY, [step.day])
    _run(connection, "set_rolled_through", partition, rolled_through=step.rolled_through)


def find_marks(connection: Connection, partition: int, *, limit: int) -> tuple[DirtyTier, list[Mark]]:
    """Up to `limit` marks of hours or, when there are none, of days."""
    for tier, statement in ((DirtyTier.HOUR, "find_dirty_hours"), (DirtyTier.DAY, "find_dirty_days")):
        rows = _run(connection, statement, partition, limit=limit).fetchall()
        if rows:
            return tier, [Mark(r["video_id"], r["event_type_id"], r["start"].astimezone(UTC)) for r in rows]
    return DirtyTier.DAY, []


def replace_marked(
    connection: Connection, partition: int, tier: DirtyTier, marks: Sequence[Mark], *, state: RollupState
) -> int:
    """Replace marked buckets and delete their marks. Returns the number of replaced buckets.

    A bucket whose lower tier retention has deleted is left unchanged: it counts more than the rows that remain there.
    """
    since = state.minutes_since if tier is DirtyTier.HOUR else state.hours_since
    kept = [mark for mark in marks if mark.start >= since]
    if kept:
        columns = _get_columns(kept)
        if tier is DirtyTier.HOUR:
            _run(connection, "delete_dirty_hours", partition, **columns)
            _run(connection, "insert_dirty_hours", partition, **columns)
            _run(connection, "mark_days_of_hours", partition, **columns, rolled_through=state.rolled_through)
        else:
            _run(connection, "delete_dirty_days", partition, **columns)
            _run(connection, "insert_dirty_days", partition, **columns)
        _mark_sketches_due(connection, partition, tier, columns["starts"])
    _run(connection, "delete_marks", partition, **_get_columns(marks), tier=tier.value)
    return len(kept)


def split_days(connection: Connection, partition: int, *, day: datetime) -> int:
    """Split the rows of a clean day that an earlier release has rolled, from the hours. Returns their number."""
    rows = _run(connection, "find_unsplit_days", partition, start=day).fetchall()
    if rows:
        columns = _get_columns([Mark(r["video_id"], r["event_type_id"], r["start"]) for r in rows])
        _run(connection, "delete_dirty_days", partition, **columns)
        _run(connection, "insert_dirty_days", partition, **columns)
    return len(rows)


def _mark_sketches_due(connection: Connection, partition: int, tier: DirtyTier, starts: Sequence[datetime]) -> None:
    """The sketches of replaced buckets are due again; see storage/sketches.py."""
    _run(connection, "mark_sketches_due", partition, tier=tier.value, starts=list(starts))


def _get_columns(marks: Sequence[Mark]) -> dict[str, Any]:
    return {
        "video_ids": [mark.video_id for mark in marks],
        "type_ids": [mark.event_type_id for mark in marks],
        "starts": [mark.start for mark in marks],
    }


def _run(connection: Connection, name: str, partition: int, **parameters: Any) -> psycopg.Cursor[Any]:
    return connection.execute(_SQL[name].text, {"partition": partition, **parameters})

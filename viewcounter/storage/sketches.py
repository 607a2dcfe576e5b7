"""Sketches of one partition's rolled buckets: hours from raw events, days from the sketches of their hours.

Invariants. Raw events of a bucket are only added, and each counts once. So a sketch of as many events as the bucket
counts holds all of them, whenever and in however many reads they were collected; readers require just that
(`storage/sketch_reads.py`). A sketch is never replaced by one of fewer events. `sketch_due` lists each hour and day of
which rollups have replaced rows since its sketches were checked: a mark is written with the rows, and deleted only if
no newer mark has replaced it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from viewcounter.storage import binary
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.rollup import HOUR, DirtyTier
from viewcounter.storage.sketch_bytes import SketchBuilder, UnreadableSketch, merge_quantiles, merge_viewers

_SQL = load_queries("sketches.sql")
_FIND_STALE = {DirtyTier.HOUR: "find_stale_hours", DirtyTier.DAY: "find_stale_days"}
_SLICE = timedelta(minutes=1)

READ_SKETCH_BACKLOG = _SQL["read_sketch_backlog"]
"""Parameters: partitions. A row each: partition, state, is_being_moved, due_hours, due_days."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Due:
    """An hour or day whose sketches are to be checked; `marked_at` distinguishes this mark from a later one."""

    tier: DirtyTier
    start: datetime
    marked_at: datetime


@dataclass(frozen=True, slots=True)
class StaleKey:
    """A bucket without a sketch of all its `count` events."""

    video_id: str
    event_type_id: int
    count: int


BEFORE_ALL = StaleKey("", 0, 0)


@dataclass(frozen=True, slots=True)
class MadeSketch:
    """`viewers` and `quantiles` are empty for a bucket without viewers or values."""

    key: StaleKey
    events: int
    viewers: bytes
    quantiles: bytes


def find_due(connection: Connection, partition: int) -> Due | None:
    row = connection.execute(_SQL["find_due"].text, {"partition": partition}).fetchone()
    return None if row is None else Due(DirtyTier(row["tier"]), row["start"].astimezone(UTC), row["marked_at"])


def find_stale(
    connection: Connection, partition: int, due: Due, *, after: StaleKey, valued_types: Sequence[int], limit: int
) -> list[StaleKey]:
    """Up to `limit` keys of the bucket after the key `after`, in order."""
    rows = connection.execute(
        _SQL[_FIND_STALE[due.tier]].text,
        {
            "partition": partition,
            "start": due.start,
            "after_video": after.video_id,
            "after_type": after.event_type_id,
            "valued_types": list(valued_types),
            "limit": limit,
        },
    )
    return [StaleKey(row["video_id"], row["event_type_id"], row["count"]) for row in rows]


def plan_reads(keys: Sequence[StaleKey], *, max_events: int) -> list[list[StaleKey]]:
    """Pure. The keys in order, split so that each part has at most `max_events` events, or is a single key."""
    parts: list[list[StaleKey]] = []
    room = 0
    for key in keys:
        if not parts or key.count > room:
            parts.append([])
            room = max_events
        parts[-1].append(key)
        room -= key.count
    return parts


def make_hour_sketches(
    connection: Connection,
    partition: int,
    keys: Sequence[StaleKey],
    *,
    hour: datetime,
    valued_types: Sequence[int],
    future_seconds: int,
    max_events: int,
) -> list[MadeSketch]:
    """The sketches of those keys that have at least as many raw events as are counted. A single key with more than
    `max_events` is read minute by minute."""
    builders = [SketchBuilder(is_valued=key.event_type_id in valued_types) for key in keys]
    columns = _get_columns(keys) | {
        "partition": partition,
        "are_valued": [builder.is_valued for builder in builders],
        "first_video": keys[0].video_id,
        "last_video": keys[-1].video_id,
        "future_seconds": future_seconds,
    }
    width = HOUR if sum(key.count for key in keys) <= max_events else _SLICE
    for start in (hour + width * n for n in range(HOUR // width)):
        parameters = columns | {"start": start, "end": start + width}
        for row in _read(connection, "read_raw_of_keys", parameters):
            builders[row["place"] - 1].add(events=row["events"], viewers=row["viewers"], values=row["values"])
    return [
        MadeSketch(key, builder.events, builder.build_viewers(), builder.build_quantiles())
        for key, builder in zip(keys, builders, strict=True)
        if builder.events >= key.count
    ]


def make_day_sketches(
    connection: Connection, partition: int, keys: Sequence[StaleKey], *, day: datetime, valued_types: Sequence[int]
) -> list[MadeSketch]:
    """The sketches of those keys whose sketches of hours hold all events that the day counts."""
    rows = _read(connection, "read_hour_sketches", {**_get_columns(keys), "partition": partition, "start": day})
    hours: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        hours.setdefault(row["place"] - 1, []).append(row)
    made = (_merge_day(keys[place], found, valued_types) for place, found in sorted(hours.items()))
    return [sketch for sketch in made if sketch is not None]


def _merge_day(key: StaleKey, hours: Sequence[Mapping[str, Any]], valued_types: Sequence[int]) -> MadeSketch | None:
    events = sum(row["events"] for row in hours)
    is_valued = key.event_type_id in valued_types
    if events < key.count or (is_valued and any(row["quantiles"] is None for row in hours)):
        return None
    try:
        return MadeSketch(
            key,
            events,
            merge_viewers(row["viewers"] for row in hours if row["viewers"]),
            merge_quantiles(row["quantiles"] for row in hours) if is_valued else b"",
        )
    except UnreadableSketch:
        return None


def store_sketches(connection: Connection, partition: int, due: Due, made: Sequence[MadeSketch]) -> None:
    if not made:
        return
    connection.execute(
        _SQL["store_sketches"].text,
        {
            "partition": partition,
            "tier": due.tier.value,
            "start": due.start,
            **_get_columns([sketch.key for sketch in made]),
            "events": binary.bigints(np.array([sketch.events for sketch in made], dtype=np.int64)),
            "viewers": binary.byteas([sketch.viewers for sketch in made]),
            "quantiles": binary.byteas([sketch.quantiles for sketch in made]),
        },
    )


def clear_due(connection: Connection, partition: int, due: Due) -> None:
    parameters = {"partition": partition, "tier": due.tier.value, "start": due.start, "marked_at": due.marked_at}
    connection.execute(_SQL["clear_due"].text, parameters)


def _read(connection: Connection, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Never prepared: a generic plan for any number of keys would search the whole hour for each key."""
    return connection.execute(_SQL[name].text, parameters, binary=True, prepare=False).fetchall()


def _get_columns(keys: Sequence[StaleKey]) -> dict[str, Any]:
    return {"video_ids": [key.video_id for key in keys], "type_ids": [key.event_type_id for key in keys]}

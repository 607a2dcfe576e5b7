"""Reads both sides of each comparison of an audit or a recount, in one snapshot of a shard.

Ledger, raw events and aggregates of a partition change together, in flushes only. So they agree exactly in every
snapshot, for every hour, closed or not, and each difference is a defect.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, digest_ids, get_id_minutes
from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS
from viewcounter.storage.binary import POSTGRES_EPOCH_US, timestamps
from viewcounter.storage.errors import PartitionNotHere
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import ELSEWHERE
from viewcounter.storage.raw import HOUR, get_complete_from, get_raw_start

_SQL = load_queries("audit.sql")
_COPY_HEADER_BYTES = 19
_ID_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("partition_length", ">i4"),
        ("partition", ">i2"),
        ("occurred_length", ">i4"),
        ("occurred", ">i8"),
        ("id_length", ">i4"),
        ("id", "S16"),
    ]
)
_IDS_AT_ONCE = 50_000

FIRST_VIDEO = ""
LAST_VIDEO = "\U0010ffff" * (VIDEO_ID_MAX_CHARACTERS + 1)
"""In the order of the database (bytes), every id sorts between these two."""
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Edges:
    """Start of each tier of a partition. `raw_from` is the start of an hour: raw events of every later hour, and the
    minutes in which they were counted, are complete; None when there is no raw day at all. Ids of events before
    `admits_since` may be deleted: a duplicate of such an event is not counted anyway."""

    admits_since: datetime
    rolled_through: datetime
    minutes_since: datetime
    hours_since: datetime
    raw_from: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one aggregate row; `sum`, `min` and `max` in thousandths."""

    count: int
    sum: int
    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One aggregate row that differs from its sources. `tier`: minute, hour, day, quarter (a quarter hour in the row of
    its day) or total (which has no `start`).

    `found` or `expected` is None for a missing row. Invariant: `found` != `expected`.
    """

    tier: str
    partition: int
    video_id: str
    event_type_id: int
    start: datetime | None
    found: Figures | None
    expected: Figures | None

    @property
    def event_count(self) -> int:
        """Difference in events; 0 when only values differ."""
        return (self.found.count if self.found else 0) - (self.expected.count if self.expected else 0)


@dataclass(frozen=True, slots=True)
class Differences:
    """The first rows that differ, ordered by video, and the number of all of them by tier."""

    rows: tuple[Difference, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows)

    def __add__(self, other: "Differences") -> "Differences":
        return Differences(self.rows + other.rows, {**self.counts, **other.counts})


@dataclass(frozen=True, slots=True)
class VideoRange:
    """Videos of one partition from `first` to `last`, both included, in byte order."""

    partition: int
    first: str = FIRST_VIDEO
    last: str = LAST_VIDEO


@dataclass(frozen=True, slots=True)
class LedgerHour:
    received: int = 0
    counted: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead_lettered: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class HourSums:
    """`minute_count` and `hour_count`: events in each tier's rows of the hour."""

    ledger: LedgerHour
    minute_count: int
    hour_count: int


@dataclass(slots=True)
class Digested:
    """Number of ids, sum of their digests mod 2^64, and ids by the minute (since 1970 UTC) that holds them."""

    count: int = 0
    digest: int = 0
    by_minute: Counter[int] = field(default_factory=Counter)

    def add(self, ids: NDArray[Any], *, occurred_us: NDArray[np.int64], admits_since: datetime) -> None:
        self.count += len(ids)
        self.digest = (self.digest + int(digest_ids(ids).sum(dtype=np.uint64))) % 2**64
        # Compared by the event's own time: a UUIDv7 may be stored under the minute of a clock that is far off.
        admitted = occurred_us >= int(admits_since.timestamp()) * 1_000_000
        minutes, counts = np.unique(get_id_minutes(ids[admitted], occurred_us[admitted]), return_counts=True)
        self.by_minute.update(dict(zip(minutes.tolist(), counts.tolist(), strict=True)))


def read_edges(connection: Connection, partitions: Collection[int], *, future_seconds: int) -> dict[int, Edges]:
    """Edges by partition, without partitions that this shard does not hold (moved, not adopted)."""
    rows = connection.execute(_SQL["edges_of_partitions"].text, {"partitions": list(partitions)}).fetchall()
    return {
        row["partition"]: _build_edges(row, future_seconds=future_seconds)
        for row in rows
        if row["state"] is not None and row["state"] not in ELSEWHERE
    }


def get_edges(connection: Connection, partition: int, *, future_seconds: int) -> Edges:
    """Raises PartitionNotHere."""
    edges = read_edges(connection, [partition], future_seconds=future_seconds)
    if partition not in edges:
        raise PartitionNotHere(f"partition {partition} is not on this shard")
    return edges[partition]


def read_hour_sums(connection: Connection, partitions: Collection[int], *, hour: datetime) -> dict[int, HourSums]:
    parameters = {"partitions": list(partitions), "hour": hour}
    return {
        row["partition"]: HourSums(
            ledger=_build_ledger(row), minute_count=int(row["minute_count"]), hour_count=int(row["hour_count"])
        )
        for row in connection.execute(_SQL["sums_of_hour"].text, parameters)
    }


def digest_hour(
    connection: Connection, edges: Mapping[int, Edges], *, hour: datetime, future_seconds: int
) -> dict[int, Digested]:
    """Digest the raw events of the hour, by partition of `edges`. Streams them in bounded memory."""
    found = {partition: Digested() for partition in edges}
    parameters = {"partitions": list(edges), "hour": hour, "future_seconds": future_seconds}
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_ids_of_hour"].text, parameters) as copy:
        for block in _read_blocks(copy):
            for partition in np.unique(block["partition"]).tolist():
                rows = block[block["partition"] == partition]
                found[partition].add(
                    rows["id"],
                    occurred_us=rows["occurred"].astype(np.int64) + POSTGRES_EPOCH_US,
                    admits_since=edges[partition].admits_since,
                )
    return found


def count_unknown_ids(connection: Connection, partition: int, raw: Digested) -> int:
    """Raw events in excess of the ids stored under their minutes: their duplicates would be counted.

    Ids of other hours may be stored under the same minutes, so 0 proves nothing, but more than 0 is a defect.
    """
    minutes = timestamps(np.array(sorted(raw.by_minute), dtype=np.int64) * MICROSECONDS_PER_MINUTE)
    rows = connection.execute(_SQL["count_stored_ids"].text, {"partition": partition, "minutes": minutes})
    return sum(max(0, raw.by_minute[int(row["minute"].timestamp()) // 60] - int(row["id_count"])) for row in rows)


def find_minute_differences(
    connection: Connection, videos: VideoRange, *, start: datetime, end: datetime, future_seconds: int, limit: int
) -> Differences:
    """Minutes of [start, end) that differ from their raw events."""
    return _find(
        connection,
        "minutes_unlike_raw",
        videos,
        limit=limit,
        parameters={"start": start, "end": end, "future_seconds": future_seconds},
    )


def find_rollup_differences(
    connection: Connection,
    videos: VideoRange,
    edges: Edges,
    *,
    start: datetime,
    end: datetime,
    raw_from: datetime,
    future_seconds: int,
    limit: int,
) -> Differences:
    """Rolled, unmarked hours and days, and quarters of days, within [start, end) that differ from their minutes, or
    from the raw events where these begin at `raw_from`."""
    start = max(start, _ceil(edges.minutes_since, HOUR))
    end = min(end, edges.rolled_through)
    day_start, day_end = _ceil(start, _DAY), end.replace(hour=0, minute=0, second=0, microsecond=0)
    return _find(
        connection,
        "rollups_unlike_minutes",
        videos,
        limit=limit,
        parameters={
            "start": start,
            "end": end,
            "day_start": day_start,
            "day_end": day_end,
            "raw_from": raw_from,
            "future_seconds": future_seconds,
        },
    )


def find_total_differences(
    connection: Connection, videos: VideoRange, *, raw_from: datetime, future_seconds: int, limit: int
) -> Differences:
    """All-time totals that differ from the sum of the tiers, with raw events in place of minutes from `raw_from` on."""
    return _find(
        connection,
        "totals_unlike_tiers",
        videos,
        limit=limit,
        parameters={"raw_from": raw_from, "future_seconds": future_seconds},
    )


def find_next_videos(connection: Connection, *, partition: int, first: str, limit: int) -> tuple[str, int] | None:
    """The last of the next `limit` videos from `first` on, and their number; None at the end."""
    row = connection.execute(
        _SQL["videos_from"].text, {"partition": partition, "first_video": first, "limit": limit}
    ).fetchone()
    return (row["last_video"], row["video_count"]) if row is not None and row["video_count"] else None


def count_videos(connection: Connection, *, partition: int) -> int:
    row = connection.execute(_SQL["count_videos"].text, {"partition": partition}).fetchone()
    return int(row["video_count"]) if row is not None else 0


def find_nth_video(connection: Connection, *, partition: int, offset: int) -> str | None:
    row = connection.execute(_SQL["nth_video"].text, {"partition": partition, "offset": offset}).fetchone()
    return None if row is None else row["video_id"]


def _find(
    connection: Connection, name: str, videos: VideoRange, *, limit: int, parameters: dict[str, Any]
) -> Differences:
    rows = connection.execute(
        _SQL[name].text,
        {
            "partition": videos.partition,
            "first_video": videos.first,
            "last_video": videos.last,
            "limit": limit,
            **parameters,
        },
    ).fetchall()
    return Differences(
        rows=tuple(_build_difference(row, partition=videos.partition) for row in rows),
        counts={row["tier"]: row["difference_count"] for row in rows},
    )


def _build_difference(row: dict[str, Any], *, partition: int) -> Difference:
    return Difference(
        tier=row["tier"],
        partition=partition,
        video_id=row["video_id"],
        event_type_id=row["event_type_id"],
        start=row["start"] and row["start"].astimezone(UTC),
        found=_build_figures(row, "found"),
        expected=_build_figures(row, "expected"),
    )


def _build_figures(row: dict[str, Any], side: str) -> Figures | None:
    if row[f"{side}_count"] is None:
        return None
    return Figures(*(int(row[f"{side}_{name}"]) for name in ("count", "sum", "min", "max")))


def _build_ledger(row: dict[str, Any]) -> LedgerHour:
    if row["received"] is None:
        return LedgerHour()
    names = ("received", "counted", "duplicate", "conflict", "dead_lettered", "digest")
    return LedgerHour(*(int(row[name]) for name in names))


def _build_edges(row: dict[str, Any], *, future_seconds: int) -> Edges:
    raw_start = get_raw_start(row["oldest_raw_day"], raw_since=row["raw_since"])
    minutes_since = row["minutes_since"].astimezone(UTC)
    raw_from = None
    if raw_start is not None:
        raw_from = max(get_complete_from(raw_start, future_seconds=future_seconds), _ceil(minutes_since, HOUR))
    return Edges(
        admits_since=row["admits_since"].astimezone(UTC),
        rolled_through=row["rolled_through"].astimezone(UTC),
        minutes_since=minutes_since,
        hours_since=row["hours_since"].astimezone(UTC),
        raw_from=raw_from,
    )


def _ceil(instant: datetime, width: timedelta) -> datetime:
    return instant + (datetime(1970, 1, 1, tzinfo=UTC) - instant) % width


def _read_blocks(copy: psycopg.Copy) -> Iterator[NDArray[Any]]:
    """Arrays of _ID_ROW from a binary COPY, at most _IDS_AT_ONCE rows each."""
    buffer = bytearray()
    header_left = _COPY_HEADER_BYTES
    for data in copy:
        part = bytes(data)
        skipped = min(header_left, len(part))
        header_left -= skipped
        buffer += part[skipped:]
        if len(buffer) >= _IDS_AT_ONCE * _ID_ROW.itemsize:
            yield np.frombuffer(bytes(buffer[: _IDS_AT_ONCE * _ID_ROW.itemsize]), dtype=_ID_ROW)
            del buffer[: _IDS_AT_ONCE * _ID_ROW.itemsize]
    whole = len(buffer) // _ID_ROW.itemsize * _ID_ROW.itemsize  # the trailer of two bytes is left over
    yield np.frombuffer(bytes(buffer[:whole]), dtype=_ID_ROW)

"""Read statements for a period, from days, hours and minutes; the tiers are chosen in the snapshot of the statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np

from viewcounter.storage import binary
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("ranges.sql")

BUCKETS_OF_VIDEOS = _SQL["buckets_of_videos"]
"""Parameters: partitions, video_partitions and video_ids (parallel), event_type_id, `edges`, those of
`slice_parameters` (tiers day, parts and minute), `part_parameters` and `fallback_parameters`, `resolution` in minutes
of the parts, `extremes`: whether min and max of parts of days are to be read. At least one row for each partition: its
state, `admits_since`, `generation`, `has_dirty_days`, `has_dirty_hours`, `has_unsplit_days`, `lost_day` (not null: the
answer lacks parts of this day), and `bucket` (from 1: number of edges at or before it; null for none), count, sum,
min, max."""

TOP_OF_RANGE = _SQL["top_of_range"]
"""Parameters: function, limit, and those of BUCKETS_OF_VIDEOS without edges and videos."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Horizon:
    """The range of each tier of a partition: hours and days are rolled up to `rolled_through`; minutes are kept from
    `minutes_since` on, hours from `hours_since` on, days forever."""

    rolled_through: datetime
    minutes_since: datetime
    hours_since: datetime

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            rolled_through=row["rolled_through"].astimezone(UTC),
            minutes_since=row["minutes_since"].astimezone(UTC),
            hours_since=row["hours_since"].astimezone(UTC),
        )


def slice_parameters(tiers: Sequence[str], starts: Sequence[datetime], ends: Sequence[datetime]) -> dict[str, Any]:
    """Parameters for slices: tier names and [start, end), three columns of equal length."""
    return {"tiers": binary.texts(tiers), "starts": instants(starts), "ends": instants(ends)}


def part_parameters(
    days: Sequence[datetime], lows: Sequence[int], highs: Sequence[int], buckets: Sequence[int]
) -> dict[str, Any]:
    """Parameters for parts of days, ascending: the quarters [low, high) of the day, and their bucket (from 1); four
    columns of equal length."""
    return {
        "part_days": instants(days),
        "part_lows": binary.smallints(np.array(lows, dtype=np.int16)),
        "part_highs": binary.smallints(np.array(highs, dtype=np.int16)),
        "part_buckets": binary.bigints(np.array(buckets, dtype=np.int64)),
    }


def fallback_parameters(
    days: Sequence[datetime], tiers: Sequence[str], starts: Sequence[datetime], ends: Sequence[datetime]
) -> dict[str, Any]:
    """Parameters for the hours and minutes that stand in for parts of a day, four columns of equal length."""
    return {
        "fallback_days": instants(days),
        "fallback_tiers": binary.texts(tiers),
        "fallback_starts": instants(starts),
        "fallback_ends": instants(ends),
    }


def instants(values: Sequence[datetime]) -> binary.TimestamptzArray:
    """Array parameter of aware times at minute edges."""
    return binary.timestamps(np.array([(v - _EPOCH).total_seconds() for v in values], dtype=np.int64) * 1_000_000)

"""A year of counted events, as after rollups and retention: days of the whole year, hours of the last 90 days, minutes
of the last 8. Pure.

Counting them through the log would take a year, since older events are refused. Reads need only these tables and the
rows of partitions, so only these are generated; raw events, ids and ledgers are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devtools.bench.event_stream import VIDEOS
from devtools.bench.workload import TYPE_SHARES, VIDEO_COUNT, WATCH_TIME, ZIPF_EXPONENT
from viewcounter.events.message import VALUE_SCALE
from viewcounter.events.partition import get_partition

DAYS = 365
HOUR_DAYS, MINUTE_DAYS, ADMIT_DAYS = 90, 8, 7
"""The defaults of retention and of the accept window."""
GRACE = timedelta(minutes=5)
HOUR_MINUTES, DAY_MINUTES = 60, 24 * 60
_TYPE_BITS, _MINUTE_BITS, _SECOND_BITS = 3, 20, 10
"""A year and a day have fewer minutes than 2**20, a watch fewer seconds than 2**10."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Horizons:
    """The columns of a partition's row with the range of each tier."""

    watermark: datetime
    rolled_through: datetime
    admits_since: datetime
    minutes_since: datetime
    hours_since: datetime

    @classmethod
    def at(cls, now: datetime) -> "Horizons":
        """`now` at a minute edge."""
        rolled_through = _floor_hour(now - GRACE)
        return cls(
            watermark=now,
            rolled_through=rolled_through,
            admits_since=now - timedelta(days=ADMIT_DAYS),
            minutes_since=_floor_hour(now - timedelta(days=MINUTE_DAYS)),
            hours_since=_floor_hour(now - timedelta(days=HOUR_DAYS)).replace(hour=0),
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one tier, or of the totals: one for each key, ascending by partition, video, type and start.

    `starts`: minutes since 1970 UTC; all zero for totals. `videos` are indexes of VIDEOS.
    """

    partitions: Numbers
    videos: Numbers
    types: Numbers
    starts: Numbers
    counts: Numbers
    sums: Numbers
    mins: Numbers
    maxs: Numbers

    def __len__(self) -> int:
        return len(self.counts)

    def select(self, chosen: NDArray[Any] | slice) -> "Rows":
        return Rows(*(getattr(self, name)[chosen] for name in self.__slots__))

    def order_by_start(self) -> "Rows":
        """In the order of flushes and rollups: all videos of one bucket, then the next bucket."""
        return self.select(np.argsort(self.starts, kind="stable"))

    def choose_partitions(self, partitions: Sequence[int]) -> "Rows":
        return self.select(np.isin(self.partitions, partitions))


@dataclass(frozen=True, slots=True)
class History:
    """`event_count` events that occurred in [since, horizons.watermark)."""

    event_count: int
    since: datetime
    horizons: Horizons
    minutes: Rows
    hours: Rows
    days: Rows
    totals: Rows


def make_history(*, event_count: int, partition_count: int, now: datetime, seed: int) -> History:
    """Videos and types are distributed as in `workload`, times evenly over the year before `now`, a minute edge."""
    horizons = Horizons.at(now)
    since = (now - timedelta(days=DAYS)).replace(hour=0, minute=0)
    minutes = _draw_minutes(event_count, partition_count, first=_number(since), last=_number(now), seed=seed)
    hours = _merge(minutes, width=HOUR_MINUTES)
    days = _merge(hours, width=DAY_MINUTES)
    rolled_through = _number(horizons.rolled_through)
    return History(
        event_count=event_count,
        since=since,
        horizons=horizons,
        minutes=minutes.select(minutes.starts >= _number(horizons.minutes_since)),
        hours=hours.select(
            (hours.starts >= _number(horizons.hours_since)) & (hours.starts + HOUR_MINUTES <= rolled_through)
        ),
        days=days.select(days.starts + DAY_MINUTES <= rolled_through),
        totals=_merge(days, width=None),
    )


def _draw_minutes(event_count: int, partition_count: int, *, first: int, last: int, seed: int) -> Rows:
    """One row for all events of a minute. Each event is encoded as one number, which sorts within seconds."""
    rng = np.random.default_rng(seed)
    shares = np.cumsum(1 / np.arange(1, VIDEO_COUNT + 1) ** ZIPF_EXPONENT)
    videos = np.searchsorted(shares / shares[-1], rng.random(event_count)).clip(max=VIDEO_COUNT - 1)
    types = rng.choice(list(TYPE_SHARES), size=event_count, p=list(TYPE_SHARES.values()))
    seconds = np.where(types == WATCH_TIME, rng.integers(1, 600, size=event_count), 0)
    placed = np.array([get_partition(video, partition_count=partition_count) for video in VIDEOS], dtype=np.int64)
    order = np.lexsort((np.arange(VIDEO_COUNT), placed))
    ranks = np.empty(VIDEO_COUNT, dtype=np.int64)
    ranks[order] = np.arange(VIDEO_COUNT)
    packed = ranks[videos] << _TYPE_BITS | types
    packed = packed << _MINUTE_BITS | rng.integers(0, last - first, size=event_count)
    packed = np.sort(packed << _SECOND_BITS | seconds)
    values = (packed & (1 << _SECOND_BITS) - 1) * VALUE_SCALE
    packed >>= _SECOND_BITS
    starts = first + (packed & (1 << _MINUTE_BITS) - 1)
    packed >>= _MINUTE_BITS
    types, videos = packed & (1 << _TYPE_BITS) - 1, order[packed >> _TYPE_BITS]
    ones = np.ones(event_count, dtype=np.int64)
    return _merge(Rows(placed[videos], videos, types, starts, ones, values, values, values), width=1)


def _merge(rows: Rows, *, width: int | None) -> Rows:
    """Buckets of `width` minutes since 1970 UTC (None: all time), from sorted rows."""
    starts = np.zeros_like(rows.starts) if width is None else rows.starts // width * width
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (np.diff(rows.videos) != 0) | (np.diff(rows.types) != 0) | (np.diff(starts) != 0)
    first = np.flatnonzero(is_first)
    return Rows(
        partitions=rows.partitions[first],
        videos=rows.videos[first],
        types=rows.types[first],
        starts=starts[first],
        counts=np.add.reduceat(rows.counts, first),
        sums=np.add.reduceat(rows.sums, first),
        mins=np.minimum.reduceat(rows.mins, first),
        maxs=np.maximum.reduceat(rows.maxs, first),
    )


def _number(instant: datetime) -> int:
    """A minute edge as minutes since 1970 UTC."""
    return int((instant - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(minutes=1))


def _floor_hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)

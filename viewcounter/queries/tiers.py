"""Which tier of aggregates answers which part of a period. Pure.

A period cut into buckets is covered by slices: the whole UTC days within a bucket from days, the whole hours left over
from hours, the ragged ends from minutes. The statement that reads them (`storage/sql/ranges.sql`) narrows them once
more in its own snapshot: buckets that are not rolled up yet, or marked dirty, are read from the tier below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from viewcounter.queries.ranges import EPOCH, MINUTE, Period, floor_to
from viewcounter.storage.ranges import Horizon

OPEN_START = datetime(1, 1, 1, tzinfo=UTC)
OPEN_END = datetime(9999, 12, 31, tzinfo=UTC)
"""Stand for an open side: day edges that no event reaches."""


class Tier(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    PARTS = "parts"
    """Days of whose rows only some quarter hours are asked for; see `splits`."""

    @property
    def width(self) -> timedelta:
        return _WIDTHS[self]


_WIDTHS = {
    Tier.MINUTE: MINUTE,
    Tier.HOUR: timedelta(hours=1),
    Tier.DAY: timedelta(days=1),
    Tier.PARTS: timedelta(days=1),
}
_FINER = {Tier.DAY: Tier.HOUR, Tier.HOUR: Tier.MINUTE}


@dataclass(frozen=True, slots=True)
class Slice:
    """[start, end), at edges of its tier."""

    tier: Tier
    start: datetime
    end: datetime


def get_edges(period: Period, bucket_starts: Sequence[datetime] = ()) -> list[datetime]:
    """The edges at which a period may be cut: its own and those of its buckets. Empty for an empty period."""
    start, end = period.start or OPEN_START, period.end or OPEN_END
    if start >= end:
        return []
    return [start, *bucket_starts[1:], end]


def plan_slices(edges: Sequence[datetime], *, coarsest: Tier = Tier.DAY) -> list[Slice]:
    """The coarsest slices that cover [first, last) and cross none of the ascending edges between; in order."""
    slices: list[Slice] = []
    for start, end in pairwise(edges):
        _cover(slices, coarsest, start, end)
    return slices


def _cover(slices: list[Slice], tier: Tier, start: datetime, end: datetime) -> None:
    if start >= end:
        return
    if tier is Tier.MINUTE:
        append_slice(slices, Slice(tier, start, end))
        return
    offset = -(start - EPOCH) % tier.width
    if offset > end - start:
        _cover(slices, _FINER[tier], start, end)
        return
    first, last = start + offset, floor_to(end, tier.width)
    if first == last:
        _cover(slices, _FINER[tier], start, end)
        return
    _cover(slices, _FINER[tier], start, first)
    append_slice(slices, Slice(tier, first, last))
    _cover(slices, _FINER[tier], last, end)


def append_slice(slices: list[Slice], new: Slice) -> None:
    """Joins neighbours of one tier: a thousand hour buckets side by side are read as one range."""
    if slices and slices[-1].tier is new.tier and new.start <= slices[-1].end:
        slices[-1] = Slice(new.tier, slices[-1].start, max(slices[-1].end, new.end))
    else:
        slices.append(new)


def find_expired(slices: Sequence[Slice], horizon: Horizon) -> Slice | None:
    """The first slice that needs rows which retention has deleted."""
    kept_since = {Tier.MINUTE: horizon.minutes_since, Tier.HOUR: horizon.hours_since}
    return next((s for s in slices if s.start < kept_since.get(s.tier, OPEN_START)), None)


def find_tiers(slices: Sequence[Slice], horizon: Horizon) -> set[Tier]:
    """The tiers that the slices are read from, given how far they are rolled; dirty buckets apart."""
    tiers = set()
    days_through = floor_to(horizon.rolled_through, Tier.DAY.width)
    for s in slices:
        if s.tier in (Tier.DAY, Tier.PARTS) and max(s.start, EPOCH) < days_through:
            tiers.add(Tier.DAY)
        if s.tier is Tier.PARTS:  # what is read where these days are not rolled is in slices of its own
            continue
        hours_start = max(s.start, days_through) if s.tier is Tier.DAY else s.start
        if s.tier is not Tier.MINUTE and hours_start < min(s.end, horizon.rolled_through):
            tiers.add(Tier.HOUR)
        if s.tier is Tier.MINUTE or s.end > horizon.rolled_through:
            tiers.add(Tier.MINUTE)
    return tiers

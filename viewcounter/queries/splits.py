"""Which parts of a period come from the quarter hours in rows of days. Pure.

Whole UTC days within a bucket come from rows of days as they are. A UTC day of which only some quarter hours lie within
a bucket is split: `parts` says between which quarters. Where its row cannot be split (the day is not rolled yet, is
dirty, or was rolled by an earlier release), hours and minutes stand in for the parts: `fallback`, by day. Which of the
two it is, the statement decides for each row in its own snapshot. The minutes between an edge and the next quarter hour
come from minutes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from viewcounter.queries.ranges import EPOCH, MINUTE, floor_to
from viewcounter.queries.tiers import Slice, Tier, append_slice, plan_slices

QUARTER = 15 * MINUTE
QUARTERS_OF_DAY = 96
_DAY = Tier.DAY.width
_QUARTERS_OF_HOUR = 4


@dataclass(frozen=True, slots=True)
class DayPart:
    """The quarters [first, last) of the UTC day that begins with `day`; from 0 to 96, but never a whole day. `bucket`,
    from 1, is the number of edges at or before them."""

    day: datetime
    first: int
    last: int
    bucket: int


@dataclass(frozen=True, slots=True)
class StandIn:
    """What is read instead of parts of `day`: hours, or minutes."""

    day: datetime
    slice: Slice


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """`slices`: whole days and minutes, ascending, then days to be split (Tier.PARTS), each day once. `parts` and
    `fallback` are ascending."""

    slices: tuple[Slice, ...]
    parts: tuple[DayPart, ...]
    fallback: tuple[StandIn, ...]

    @property
    def resolution(self) -> int:
        """In minutes: 60 if all parts begin and end at hours, else 15."""
        on_hours = all(p.first % _QUARTERS_OF_HOUR == p.last % _QUARTERS_OF_HOUR == 0 for p in self.parts)
        return 60 if on_hours else 15


def plan_split(edges: Sequence[datetime]) -> SplitPlan:
    """Covers [first, last) of the ascending edges once; nothing crosses one of those between."""
    slices: list[Slice] = []
    split_days: list[Slice] = []
    parts: list[DayPart] = []
    fallback: list[StandIn] = []
    for bucket, (start, end) in enumerate(pairwise(edges), start=1):
        first, last = _ceil(start, QUARTER), floor_to(end, QUARTER)
        if first >= last:
            append_slice(slices, Slice(Tier.MINUTE, start, end))
            continue
        if start < first:
            append_slice(slices, Slice(Tier.MINUTE, start, first))
        for low, high in _cut_days(first, last):
            day = floor_to(low, _DAY)
            if low == day and high - low >= _DAY:
                append_slice(slices, Slice(Tier.DAY, low, high))
            else:
                append_slice(split_days, Slice(Tier.PARTS, day, day + _DAY))
                parts.append(DayPart(day, (low - day) // QUARTER, (high - day) // QUARTER, bucket))
                for piece in plan_slices([low, high], coarsest=Tier.HOUR):
                    _append_stand_in(fallback, StandIn(day, piece))
        if last < end:
            append_slice(slices, Slice(Tier.MINUTE, last, end))
    return SplitPlan((*slices, *split_days), tuple(parts), tuple(fallback))


def _cut_days(first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    """[first, last) as a part of a day, whole days, and a part of a day, where there are such."""
    days_first, days_last = _ceil(first, _DAY), floor_to(last, _DAY)
    if days_last < days_first:
        yield first, last
        return
    for low, high in ((first, days_first), (days_first, days_last), (days_last, last)):
        if low < high:
            yield low, high


def _ceil(instant: datetime, width: timedelta) -> datetime:
    return instant + -(instant - EPOCH) % width


def _append_stand_in(fallback: list[StandIn], new: StandIn) -> None:
    """Joins neighbours of one tier within a day."""
    before = fallback[-1] if fallback else None
    if before is not None and before.day == new.day:
        joined = [before.slice]
        append_slice(joined, new.slice)
        if len(joined) == 1:
            fallback[-1] = StandIn(new.day, joined[0])
            return
    fallback.append(new)

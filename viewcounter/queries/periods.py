"""One function over a period, in total and by bucket: the plan of a read, and the meaning of its rows.

`plan_period` before the read, `collect_buckets` after it, `build_series` for the answer; the read between them is one
statement, for one video or for many (`storage.ranges.BUCKETS_OF_VIDEOS`). All pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Any

from tzdata import IANA_VERSION

from viewcounter.queries.buckets import list_buckets
from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Aggregate, Function, Number, evaluate, merge
from viewcounter.queries.meta import Source
from viewcounter.queries.ranges import Interval, Period, floor_to
from viewcounter.queries.resolution import check_parts, refuse_lost_day
from viewcounter.queries.splits import SplitPlan, plan_split
from viewcounter.queries.tiers import Slice, Tier, find_tiers, get_edges, plan_slices
from viewcounter.storage.ranges import Horizon, fallback_parameters, instants, part_parameters, slice_parameters


class Fill(StrEnum):
    """How a series treats buckets without events."""

    NONE = "none"
    ZERO = "zero"

    @classmethod
    def parse(cls, text: str) -> "Fill":
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("fill", "unknown_fill", f"must be one of: {allowed}") from None


@dataclass(frozen=True, slots=True)
class PeriodPlan:
    """`bucket_starts` (UTC) are the buckets' own, the first perhaps before the period; empty without an interval.

    `split` is what aggregates are read from, `slices` what sketches are: they have no quarter hours. Only few queries
    are of sketches, so their slices are planned when they are asked for.
    """

    period: Period
    interval: Interval | None
    zone: tzinfo
    week_start: WeekStart
    bucket_starts: tuple[datetime, ...]
    edges: tuple[datetime, ...]
    split: SplitPlan

    @property
    def slices(self) -> list[Slice]:
        """Days, hours and minutes, without parts of days."""
        return plan_slices(self.edges)


@dataclass(frozen=True, slots=True)
class Collected:
    """`aggregates` by index of the bucket; without an interval the whole period is bucket 0."""

    aggregates: Mapping[int, Aggregate]
    sources: frozenset[Source]


@dataclass(frozen=True, slots=True)
class Bucket:
    """`start` is the bucket's own edge in the zone of the query, also where the period begins within it."""

    start: datetime
    value: Number | None


def plan_period(
    period: Period,
    *,
    interval: Interval | None = None,
    zone: tzinfo = UTC,
    week_start: WeekStart = WeekStart.MONDAY,
    max_buckets: int = 0,
) -> PeriodPlan:
    """Raises InvalidQuery for an interval over an open period or with more than `max_buckets`."""
    starts: list[datetime] = []
    if interval is not None:
        starts = list_buckets(period, interval, zone=zone, week_start=week_start, max_buckets=max_buckets)
    edges = get_edges(period, starts)
    return PeriodPlan(
        period=period,
        interval=interval,
        zone=zone,
        week_start=week_start,
        bucket_starts=tuple(starts),
        edges=tuple(edges),
        split=plan_split(edges),
    )


def format_cut(plan: PeriodPlan) -> str:
    """A name that two plans share only if they have the same buckets by the same rules of the same zone."""
    start, end = (("" if edge is None else f"{edge:%Y%m%d%H%M}") for edge in (plan.period.start, plan.period.end))
    cut = "" if plan.interval is None else f"{plan.interval}:{plan.week_start}:{plan.zone}:{IANA_VERSION}"
    return f"{start}:{end}:{cut}"


def split_parameters(plan: PeriodPlan, *, extremes: bool) -> dict[str, Any]:
    """What BUCKETS_OF_VIDEOS and TOP_OF_RANGE are to read of each tier; with `extremes` also min and max of parts."""
    split = plan.split
    return {
        **_slice_parameters(split.slices),
        **part_parameters(
            days=[part.day for part in split.parts],
            lows=[part.first for part in split.parts],
            highs=[part.last for part in split.parts],
            buckets=[part.bucket for part in split.parts],
        ),
        **fallback_parameters(
            days=[stand_in.day for stand_in in split.fallback],
            tiers=[stand_in.slice.tier.value for stand_in in split.fallback],
            starts=[stand_in.slice.start for stand_in in split.fallback],
            ends=[stand_in.slice.end for stand_in in split.fallback],
        ),
        "resolution": split.resolution,
        "extremes": extremes,
    }


def bucket_parameters(
    plan: PeriodPlan, *, partitions: Mapping[str, int], event_type_id: int, extremes: bool
) -> dict[str, Any]:
    """Parameters of BUCKETS_OF_VIDEOS for the videos in `partitions` (by video id), but for `partitions` itself."""
    return {
        **split_parameters(plan, extremes=extremes),
        **_video_parameters(plan, partitions=partitions, event_type_id=event_type_id),
    }


def sketch_parameters(plan: PeriodPlan, *, partitions: Mapping[str, int], event_type_id: int) -> dict[str, Any]:
    """Parameters of SKETCHES_OF_VIDEOS for these videos, but for `partitions` and the bounds."""
    return {
        **_slice_parameters(plan.slices),
        **_video_parameters(plan, partitions=partitions, event_type_id=event_type_id),
    }


def _slice_parameters(slices: Sequence[Slice]) -> dict[str, Any]:
    return slice_parameters(
        tiers=[s.tier.value for s in slices], starts=[s.start for s in slices], ends=[s.end for s in slices]
    )


def _video_parameters(plan: PeriodPlan, *, partitions: Mapping[str, int], event_type_id: int) -> dict[str, Any]:
    return {
        "edges": instants(plan.edges[:-1]),
        "video_ids": list(partitions),
        "video_partitions": list(partitions.values()),
        "event_type_id": event_type_id,
    }


def collect_buckets(rows: Iterable[Mapping[str, Any]], plan: PeriodPlan) -> Collected:
    """Merges the rows of all partitions. Raises InvalidQuery when retention has deleted rows that the plan needs."""
    parts: dict[int, list[Mapping[str, Any]]] = {}
    read = list(rows)
    for row in read:
        if row["count"] is not None:
            parts.setdefault(row["bucket"] - 1, []).append(row)
    sources = find_sources(read, plan)
    return Collected({index: Aggregate.from_rows(found) for index, found in sorted(parts.items())}, sources)


def find_sources(rows: Iterable[Mapping[str, Any]], plan: PeriodPlan) -> frozenset[Source]:
    """The tiers that the statement read. Raises InvalidQuery when a partition no longer has one that it needs, or has
    never had the parts of a day."""
    sources: set[Source] = set()
    checked: set[int] = set()
    lost_days: list[datetime] = []
    for row in rows:
        if row["lost_day"] is not None:
            lost_days.append(row["lost_day"].astimezone(UTC))
        if row["partition"] in checked:
            continue
        checked.add(row["partition"])
        horizon = Horizon.from_row(row)
        check_parts(plan.split.slices, horizon, period=plan.period, interval=plan.interval)
        planned = [*plan.split.slices, *_find_stand_ins(row, plan)]
        sources |= {Source(tier.value) for tier in find_tiers(planned, horizon)}
        if row["has_dirty_days"]:
            sources.add(Source.HOUR)
        if row["has_dirty_hours"]:
            sources.add(Source.MINUTE)
    if lost_days:
        refuse_lost_day(max(lost_days), period=plan.period, interval=plan.interval)
    return frozenset(sources)


def _find_stand_ins(row: Mapping[str, Any], plan: PeriodPlan) -> list[Slice]:
    """What was read instead of parts of days."""
    days_through = floor_to(row["rolled_through"].astimezone(UTC), Tier.DAY.width)
    return [s.slice for s in plan.split.fallback if row["has_unsplit_days"] or s.day >= days_through]


def evaluate_buckets(collected: Collected, function: Function) -> dict[int, Number | None]:
    """By index of the bucket, those with events."""
    return {index: evaluate(function, aggregate) for index, aggregate in collected.aggregates.items()}


def build_series(
    plan: PeriodPlan, values: Mapping[int, Number | None], *, empty: Number | None, fill: Fill
) -> tuple[Bucket, ...]:
    """`values` by index of the bucket, ascending; `empty` is that of the others."""
    indexes = values if fill is Fill.NONE else range(len(plan.bucket_starts))
    return tuple(
        Bucket(start=plan.bucket_starts[index].astimezone(plan.zone), value=values.get(index, empty))
        for index in indexes
    )


def evaluate_whole(collected: Collected, function: Function) -> Number | None:
    """The function over the whole period."""
    return evaluate(function, merge(collected.aggregates.values()))

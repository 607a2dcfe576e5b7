"""One function over a period, in total and by bucket: the plan of a read, and the meaning of its rows.

`plan_period` before the read, `collect_buckets` after it, `build_series` for the answer; the read between them is one
statement, for one video or for many (`storage.ranges.BUCKETS_OF_VIDEOS`). All pure.
"""

from collections.abc import Iterable, Mapping
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
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.resolution import check_resolution
from viewcounter.queries.tiers import Slice, find_tiers, get_edges, plan_slices
from viewcounter.storage.ranges import Horizon, instants, slice_parameters


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
    """`bucket_starts` (UTC) are the buckets' own, the first perhaps before the period; empty without an interval."""

    period: Period
    interval: Interval | None
    zone: tzinfo
    week_start: WeekStart
    bucket_starts: tuple[datetime, ...]
    edges: tuple[datetime, ...]
    slices: tuple[Slice, ...]


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
        slices=tuple(plan_slices(edges)),
    )


def format_cut(plan: PeriodPlan) -> str:
    """A name that two plans share only if they have the same buckets by the same rules of the same zone."""
    start, end = (("" if edge is None else f"{edge:%Y%m%d%H%M}") for edge in (plan.period.start, plan.period.end))
    cut = "" if plan.interval is None else f"{plan.interval}:{plan.week_start}:{plan.zone}:{IANA_VERSION}"
    return f"{start}:{end}:{cut}"


def tier_parameters(plan: PeriodPlan) -> dict[str, Any]:
    return slice_parameters(
        tiers=[s.tier.value for s in plan.slices],
        starts=[s.start for s in plan.slices],
        ends=[s.end for s in plan.slices],
    )


def period_parameters(plan: PeriodPlan, *, partitions: Mapping[str, int], event_type_id: int) -> dict[str, Any]:
    """Parameters of BUCKETS_OF_VIDEOS for the videos in `partitions` (by video id), but for `partitions` itself."""
    return {
        **tier_parameters(plan),
        "edges": instants(plan.edges[:-1]),
        "video_ids": list(partitions),
        "video_partitions": list(partitions.values()),
        "event_type_id": event_type_id,
    }


def collect_buckets(rows: Iterable[Mapping[str, Any]], plan: PeriodPlan) -> Collected:
    """Merges the rows of all partitions. Raises InvalidQuery when retention has deleted rows that the plan needs."""
    parts: dict[int, list[Aggregate]] = {}
    read = list(rows)
    for row in read:
        aggregate = Aggregate.from_row(row)
        if aggregate is not None:
            parts.setdefault(row["bucket"] - 1, []).append(aggregate)
    sources = find_sources(read, plan)
    return Collected({i: a for i, found in sorted(parts.items()) if (a := merge(found)) is not None}, sources)


def find_sources(rows: Iterable[Mapping[str, Any]], plan: PeriodPlan) -> frozenset[Source]:
    """The tiers that the statement read. Raises InvalidQuery when a partition no longer has one that it needs."""
    sources: set[Source] = set()
    checked: set[int] = set()
    for row in rows:
        if row["partition"] in checked:
            continue
        checked.add(row["partition"])
        horizon = Horizon.from_row(row)
        check_resolution(plan.slices, horizon, period=plan.period, interval=plan.interval)
        sources |= {Source(tier.value) for tier in find_tiers(plan.slices, horizon)}
        if row["has_dirty_days"]:
            sources.add(Source.HOUR)
        if row["has_dirty_hours"]:
            sources.add(Source.MINUTE)
    return frozenset(sources)


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

"""One function over one event type of a video or a channel: over all time, over a period, and by bucket of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clusterproxy.proxy import ClusterProxy
from viewcounter.cache.read_cache import ReadCache
from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.functions import Aggregate, Function, Number, evaluate, merge
from viewcounter.queries.meta import Meta, Source
from viewcounter.queries.periods import (
    Bucket,
    Fill,
    PeriodPlan,
    bucket_parameters,
    build_series,
    collect_buckets,
    evaluate_buckets,
    evaluate_whole,
    format_cut,
    plan_period,
    sketch_parameters,
)
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.reading import StatementResult, get_event_type, read
from viewcounter.queries.settings import SketchLimits
from viewcounter.queries.sketch_reading import read_sketches
from viewcounter.queries.sketched import (
    SketchFunction,
    StatsFunction,
    check_values,
    collect_sketches,
    describe_error,
    evaluate_sketch,
    evaluate_sketches,
    evaluate_union,
)
from viewcounter.queries.targets import StatsTarget, TargetKind, build_target_read, find_catalogue_revision
from viewcounter.queries.zones import get_zone

DEFAULT_LIMITS = SketchLimits()


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """`zone_name` (see `zones`) cuts the buckets; the period is absolute."""

    target: StatsTarget
    event_type: str
    function: StatsFunction
    period: Period
    interval: Interval | None = None
    fill: Fill = Fill.NONE
    zone_name: str = "UTC"
    week_start: WeekStart = WeekStart.MONDAY


@dataclass(frozen=True, slots=True)
class StatsAnswer:
    """`value` is of the whole period. `series` is None without an interval.

    `catalogue_revision`: every change of the catalogue up to it is known to every shard that was read. None for a
    video.
    """

    query: StatsQuery
    value: Number | None
    series: tuple[Bucket, ...] | None
    catalogue_revision: int | None
    meta: Meta


def get_stats(
    cluster: ClusterProxy,
    query: StatsQuery,
    *,
    max_buckets: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
    limits: SketchLimits = DEFAULT_LIMITS,
) -> StatsAnswer:
    """Raises InvalidQuery for an unknown event type or zone, for a series that has an open edge or too many buckets,
    and for a period that needs finer rows than retention has left; for sketches also what `sketched.condense` raises;
    for a channel the first shard's error when no shard answered."""
    target, function, period = query.target, query.function, query.period
    event_type = get_event_type(cluster.topology, query.event_type)
    zone = get_zone(query.zone_name)
    statements = target.statements
    if isinstance(function, SketchFunction):
        check_values(function, event_type, cluster.topology)
    elif period.is_all_time and query.interval is None:
        params: dict[str, Any] = {"event_type_id": event_type.id}
        request = build_target_read(
            cluster, target, statements.total, params, key=f"total:{event_type.id}", options=options
        )
        return _build_total(query, function, read(request, now=now, cache=cache), now=now)
    plan = plan_period(period, interval=query.interval, zone=zone, week_start=query.week_start, max_buckets=max_buckets)
    partitions = target.locate(cluster.topology)
    cut = f"{event_type.id}:{format_cut(plan)}"
    if isinstance(function, SketchFunction):
        params = sketch_parameters(plan, partitions=partitions, event_type_id=event_type.id)
        reading = read_sketches(
            cluster,
            target,
            params,
            cut=cut,
            period_end=period.end,
            function=function,
            limits=limits,
            now=now,
            options=options,
            cache=cache,
        )
        return _build_from_sketches(query, function, plan, reading, now=now)
    # Of a video they cost little, and every function can use the same rows.
    extremes = function.is_extreme or target.kind is TargetKind.VIDEO
    params = bucket_parameters(plan, partitions=partitions, event_type_id=event_type.id, extremes=extremes)
    key = f"buckets:{'all' if extremes else 'sums'}:{cut}"
    request = build_target_read(
        cluster, target, statements.buckets, params, key=key, period_end=period.end, options=options
    )
    return _build_from_buckets(query, function, plan, read(request, now=now, cache=cache), now=now)


def _build_total(query: StatsQuery, function: Function, reading: StatementResult, *, now: datetime) -> StatsAnswer:
    found = [aggregate for row in reading.rows if (aggregate := Aggregate.from_row(row)) is not None]
    return StatsAnswer(
        query=query,
        value=evaluate(function, merge(found)),
        series=None,
        catalogue_revision=_find_catalogue_revision(query.target, reading),
        meta=reading.build_meta(sources=[Source.TOTAL], now=now),
    )


def _build_from_buckets(
    query: StatsQuery, function: Function, plan: PeriodPlan, reading: StatementResult, *, now: datetime
) -> StatsAnswer:
    collected = collect_buckets(reading.rows, plan)
    return StatsAnswer(
        query=query,
        value=evaluate_whole(collected, function),
        series=None
        if query.interval is None
        else build_series(plan, evaluate_buckets(collected, function), empty=evaluate(function, None), fill=query.fill),
        catalogue_revision=_find_catalogue_revision(query.target, reading),
        meta=reading.build_meta(sources=collected.sources, now=now),
    )


def _build_from_sketches(
    query: StatsQuery, function: SketchFunction, plan: PeriodPlan, reading: StatementResult, *, now: datetime
) -> StatsAnswer:
    sketched = collect_sketches(reading.rows, plan, of_viewers=function.is_of_viewers)
    return StatsAnswer(
        query=query,
        value=evaluate_union(sketched, function),
        series=None
        if query.interval is None
        else build_series(
            plan, evaluate_sketches(sketched, function), empty=evaluate_sketch(function, b""), fill=query.fill
        ),
        catalogue_revision=_find_catalogue_revision(query.target, reading),
        meta=reading.build_meta(sources=sketched.sources, now=now, approximate=describe_error(function)),
    )


def _find_catalogue_revision(target: StatsTarget, reading: StatementResult) -> int | None:
    return find_catalogue_revision(reading.rows) if target.kind is TargetKind.CHANNEL else None

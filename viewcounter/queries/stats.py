"""One function over one event type of one video: over all time, over a period, and by bucket of it."""

from dataclasses import dataclass
from datetime import datetime

from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import EventType
from viewcounter.cache.read_cache import ReadCache, Rows
from viewcounter.events.partition import get_partition
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.functions import Aggregate, Function, Number, evaluate
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.periods import (
    Bucket,
    Fill,
    PeriodPlan,
    build_series,
    collect_buckets,
    evaluate_buckets,
    evaluate_whole,
    name_cut,
    period_parameters,
    plan_period,
)
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.reading import CachePolicy, get_event_type, read_video
from viewcounter.queries.sketch_reading import read_sketches_of_video
from viewcounter.queries.sketched import (
    SketchFunction,
    SketchLimits,
    StatsFunction,
    check_values,
    collect_sketches,
    describe_error,
    evaluate_sketch,
    evaluate_sketches,
    evaluate_union,
)
from viewcounter.queries.zones import get_zone
from viewcounter.storage.ranges import BUCKETS_OF_VIDEOS
from viewcounter.storage.reads import TOTAL_OF_VIDEO

DEFAULT_LIMITS = SketchLimits()


@dataclass(frozen=True, slots=True)
class StatsQuestion:
    """`zone_name` (IANA) cuts the buckets; the period is absolute."""

    video_id: str
    event_type: str
    function: StatsFunction
    period: Period
    interval: Interval | None = None
    fill: Fill = Fill.NONE
    zone_name: str = "UTC"


@dataclass(frozen=True, slots=True)
class StatsAnswer:
    """`value` is of the whole period. `series` is None without an interval."""

    question: StatsQuestion
    value: Number | None
    series: tuple[Bucket, ...] | None
    meta: Meta


def get_stats(
    cluster: ClusterProxy,
    question: StatsQuestion,
    *,
    max_buckets: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
    limits: SketchLimits = DEFAULT_LIMITS,
) -> StatsAnswer:
    """Raises InvalidQuery for an unknown event type or zone, for a series that has an open edge or too many buckets,
    and for a period that needs finer rows than are kept; of sketches also what `sketched.condense` raises."""
    event_type = get_event_type(cluster.topology, question.event_type)
    zone = get_zone(question.zone_name)
    function = question.function
    if isinstance(function, SketchFunction):
        check_values(function, event_type, cluster.topology)
        plan = plan_period(question.period, interval=question.interval, zone=zone, max_buckets=max_buckets)
        return _get_sketched(
            cluster,
            question,
            function,
            plan,
            event_type=event_type,
            limits=limits,
            now=now,
            options=options,
            cache=cache,
        )
    if question.period.is_all_time and question.interval is None:
        return _get_total(
            cluster, question, function, event_type_id=event_type.id, now=now, options=options, cache=cache
        )
    plan = plan_period(question.period, interval=question.interval, zone=zone, max_buckets=max_buckets)
    partition = get_partition(question.video_id, partition_count=cluster.topology.partition_count)
    parameters = period_parameters(plan, partitions={question.video_id: partition}, event_type_id=event_type.id)
    read = read_video(
        cluster,
        BUCKETS_OF_VIDEOS,
        video_id=question.video_id,
        params=parameters | {"partitions": [partition]},
        now=now,
        options=options,
        keeping=CachePolicy(
            key=f"stats:{event_type.id}:{name_cut(plan)}:{question.video_id}",
            cache=cache,
            find_generation=lambda rows: find_generation(rows, period=question.period),
        ),
    )
    collected = collect_buckets(read.rows, plan)
    return StatsAnswer(
        question=question,
        value=evaluate_whole(collected, function),
        series=None
        if question.interval is None
        else build_series(
            plan, evaluate_buckets(collected, function), empty=evaluate(function, None), fill=question.fill
        ),
        meta=build_meta([read.seen], sources=collected.sources, now=now, parts=[read.part], routes=read.routes),
    )


def _get_sketched(
    cluster: ClusterProxy,
    question: StatsQuestion,
    function: SketchFunction,
    plan: PeriodPlan,
    *,
    event_type: EventType,
    limits: SketchLimits,
    now: datetime,
    options: ReadOptions,
    cache: ReadCache | None,
) -> StatsAnswer:
    read = read_sketches_of_video(
        cluster,
        plan,
        video_id=question.video_id,
        partition=get_partition(question.video_id, partition_count=cluster.topology.partition_count),
        event_type_id=event_type.id,
        function=function,
        limits=limits,
        now=now,
        options=options,
        cache=cache,
        find_generation=lambda rows: find_generation(rows, period=question.period),
    )
    sketched = collect_sketches(read.rows, plan, of_viewers=function.is_of_viewers)
    return StatsAnswer(
        question=question,
        value=evaluate_union(sketched, function),
        series=None
        if question.interval is None
        else build_series(
            plan, evaluate_sketches(sketched, function), empty=evaluate_sketch(function, b""), fill=question.fill
        ),
        meta=build_meta(
            [read.seen],
            sources=sketched.sources,
            now=now,
            parts=[read.part],
            routes=read.routes,
            approximate=describe_error(function),
        ),
    )


def find_generation(rows: Rows, *, period: Period) -> int | None:
    """The generation of rows that nothing but a correction can change; None for others.

    An event that happened before `admits_since` is not counted any more, whatever waits in a log, a spool or a dead
    letter: see decision 0005. So a period that ended by then is closed.
    """
    row = rows[0]
    is_closed = period.end is not None and period.end <= row["admits_since"]
    return row["generation"] if is_closed else None


def _get_total(
    cluster: ClusterProxy,
    question: StatsQuestion,
    function: Function,
    *,
    event_type_id: int,
    now: datetime,
    options: ReadOptions,
    cache: ReadCache | None,
) -> StatsAnswer:
    read = read_video(
        cluster,
        TOTAL_OF_VIDEO,
        video_id=question.video_id,
        params={"event_type_id": event_type_id},
        now=now,
        options=options,
        keeping=CachePolicy(f"total:{event_type_id}:{question.video_id}", cache),
    )
    return StatsAnswer(
        question=question,
        value=evaluate(function, Aggregate.from_row(read.rows[0])),
        series=None,
        meta=build_meta([read.seen], sources=[Source.TOTAL], now=now, parts=[read.part], routes=read.routes),
    )

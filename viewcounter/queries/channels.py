"""Counts and statistics of a channel: of the videos that now belong to it, all their events, whenever they came.

So a video that changes its channel takes its whole past along. Which videos belong to it is as each shard has copied
the catalogue; `catalogue_revision` says how far. Shards that do not answer are named, never counted as zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clusterproxy.proxy import ClusterProxy
from viewcounter.cache.read_cache import ReadCache
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.functions import Aggregate, Function, Number, evaluate, merge
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
from viewcounter.queries.reading import get_event_type
from viewcounter.queries.scattering import Scattered, scatter
from viewcounter.queries.sketch_reading import read_sketches_of_channel
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
from viewcounter.storage.channels import BUCKETS_OF_CHANNEL, COUNTS_OF_CHANNEL, TOTAL_OF_CHANNEL

DEFAULT_LIMITS = SketchLimits()


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """`counts` names every event type, in the order of their ids.

    `catalogue_revision`: every change of the catalogue up to it is known to every shard that was read.
    """

    channel_id: str
    counts: Mapping[str, int]
    catalogue_revision: int
    meta: Meta


@dataclass(frozen=True, slots=True)
class ChannelQuestion:
    """As StatsQuestion, of a channel."""

    channel_id: str
    event_type: str
    function: StatsFunction
    period: Period
    interval: Interval | None = None
    fill: Fill = Fill.NONE
    zone_name: str = "UTC"


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """`value` is of the whole period. `series` is None without an interval."""

    question: ChannelQuestion
    value: Number | None
    series: tuple[Bucket, ...] | None
    catalogue_revision: int
    meta: Meta


def get_channel_counts(
    cluster: ClusterProxy,
    *,
    channel_id: str,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
) -> ChannelCounts:
    """Raises the first shard's error when no shard answered."""
    scattered = scatter(
        cluster,
        COUNTS_OF_CHANNEL,
        params={"channel_id": channel_id},
        key=f"channel-counts:{channel_id}",
        now=now,
        options=options,
        cache=cache,
    )
    counts: dict[int, int] = {}
    for row in scattered.rows:
        if row["event_type_id"] is not None:
            counts[row["event_type_id"]] = counts.get(row["event_type_id"], 0) + int(row["count"])
    return ChannelCounts(
        channel_id=channel_id,
        counts={event_type.name: counts.get(event_type.id, 0) for event_type in cluster.topology.event_types},
        catalogue_revision=_get_catalogue_revision(scattered.rows),
        meta=_build_meta(cluster, scattered, sources=[Source.TOTAL], now=now),
    )


def get_channel_stats(
    cluster: ClusterProxy,
    question: ChannelQuestion,
    *,
    max_buckets: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
    limits: SketchLimits = DEFAULT_LIMITS,
) -> ChannelStats:
    """Never final, as videos may join the channel or leave it at any time.

    Raises what `queries.stats.get_stats` raises, and the first shard's error when no shard answered."""
    event_type = get_event_type(cluster.topology, question.event_type)
    zone = get_zone(question.zone_name)
    function = question.function
    if isinstance(function, SketchFunction):
        check_values(function, event_type, cluster.topology)
        plan = plan_period(question.period, interval=question.interval, zone=zone, max_buckets=max_buckets)
        scattered = read_sketches_of_channel(
            cluster,
            plan,
            channel_id=question.channel_id,
            event_type_id=event_type.id,
            function=function,
            limits=limits,
            now=now,
            options=options,
            cache=cache,
        )
        return _unite(cluster, question, function, plan, scattered, now=now)
    if question.period.is_all_time and question.interval is None:
        return _get_total(
            cluster, question, function, event_type_id=event_type.id, now=now, options=options, cache=cache
        )
    plan = plan_period(question.period, interval=question.interval, zone=zone, max_buckets=max_buckets)
    parameters = period_parameters(plan, partitions={}, event_type_id=event_type.id)
    scattered = scatter(
        cluster,
        BUCKETS_OF_CHANNEL,
        params=parameters | {"channel_id": question.channel_id},
        key=f"channel-stats:{event_type.id}:{name_cut(plan)}:{question.channel_id}",
        now=now,
        options=options,
        cache=cache,
    )
    collected = collect_buckets(scattered.rows, plan)
    return ChannelStats(
        question=question,
        value=evaluate_whole(collected, function),
        series=None
        if question.interval is None
        else build_series(
            plan, evaluate_buckets(collected, function), empty=evaluate(function, None), fill=question.fill
        ),
        catalogue_revision=_get_catalogue_revision(scattered.rows),
        meta=_build_meta(cluster, scattered, sources=collected.sources, now=now),
    )


def _unite(
    cluster: ClusterProxy,
    question: ChannelQuestion,
    function: SketchFunction,
    plan: PeriodPlan,
    scattered: Scattered,
    *,
    now: datetime,
) -> ChannelStats:
    sketched = collect_sketches(scattered.rows, plan, of_viewers=function.is_of_viewers)
    meta = _build_meta(cluster, scattered, sources=sketched.sources, now=now)
    return ChannelStats(
        question=question,
        value=evaluate_union(sketched, function),
        series=None
        if question.interval is None
        else build_series(
            plan, evaluate_sketches(sketched, function), empty=evaluate_sketch(function, b""), fill=question.fill
        ),
        catalogue_revision=_get_catalogue_revision(scattered.rows),
        meta=replace(meta, approximate=describe_error(function)),
    )


def _get_total(
    cluster: ClusterProxy,
    question: ChannelQuestion,
    function: Function,
    *,
    event_type_id: int,
    now: datetime,
    options: ReadOptions,
    cache: ReadCache | None,
) -> ChannelStats:
    scattered = scatter(
        cluster,
        TOTAL_OF_CHANNEL,
        params={"channel_id": question.channel_id, "event_type_id": event_type_id},
        key=f"channel-total:{event_type_id}:{question.channel_id}",
        now=now,
        options=options,
        cache=cache,
    )
    found = [aggregate for row in scattered.rows if (aggregate := Aggregate.from_row(row)) is not None]
    return ChannelStats(
        question=question,
        value=evaluate(function, merge(found)),
        series=None,
        catalogue_revision=_get_catalogue_revision(scattered.rows),
        meta=_build_meta(cluster, scattered, sources=[Source.TOTAL], now=now),
    )


def _get_catalogue_revision(rows: Iterable[Mapping[str, Any]]) -> int:
    """The lowest of the partitions read; one that was never copied has none."""
    return min(row["catalogue_revision"] or 0 for row in rows)


def _build_meta(cluster: ClusterProxy, scattered: Scattered, *, sources: Iterable[Source], now: datetime) -> Meta:
    names = {shard.id: shard.name for shard in cluster.topology.shards}
    missing = tuple(names.get(shard_id, str(shard_id)) for shard_id in scattered.missing_shards)
    return build_meta(
        scattered.seen.values(),
        sources=frozenset(sources),
        now=now,
        parts=scattered.parts,
        missing=missing,
        routes=scattered.routes,
    )

"""The videos with the highest value of a function over an event type, across all shards."""

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clusterproxy.proxy import ClusterProxy
from viewcounter.cache.read_cache import ReadCache
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.functions import Aggregate, Function, Number, evaluate, evaluate_exactly
from viewcounter.queries.meta import Meta, Source
from viewcounter.queries.periods import find_sources, format_cut, plan_period, split_parameters
from viewcounter.queries.ranges import Period
from viewcounter.queries.reading import get_event_type, read
from viewcounter.queries.scattering import build_scatter_read
from viewcounter.storage.ranges import TOP_OF_RANGE
from viewcounter.storage.reads import TOP_OF_ALL_TIME


@dataclass(frozen=True, slots=True)
class TopQuery:
    event_type: str
    function: Function
    period: Period
    limit: int


@dataclass(frozen=True, slots=True)
class TopItem:
    """`title` is None until the catalogue knows the video."""

    video_id: str
    title: str | None
    value: Number


@dataclass(frozen=True, slots=True)
class TopAnswer:
    """Highest first, equal values by video id. `meta.missing` names the shards whose videos are left out."""

    query: TopQuery
    items: tuple[TopItem, ...]
    meta: Meta


def get_top(
    cluster: ClusterProxy,
    query: TopQuery,
    *,
    max_limit: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
) -> TopAnswer:
    """Raises InvalidQuery for an unknown event type, a limit outside 1..`max_limit`, or a period that needs finer rows
    than retention has left."""
    topology = cluster.topology
    event_type = get_event_type(topology, query.event_type)
    if not 1 <= query.limit <= max_limit:
        raise InvalidQuery("limit", "out_of_bounds", f"must be from 1 to {max_limit}")
    params: dict[str, Any] = {
        "event_type_id": event_type.id,
        "function": query.function.value,
        "limit": query.limit,
    }
    sources: Collection[Source] = [Source.TOTAL]
    # Titles are in the cached rows, which are therefore never final: the catalogue may change them at any time.
    key = f"top:{event_type.id}:{query.function}:{query.limit}"
    if query.period.is_all_time:
        request = build_scatter_read(cluster, TOP_OF_ALL_TIME, params, key=key, options=options)
        reading = read(request, now=now, cache=cache)
    else:
        plan = plan_period(query.period)
        key = f"parts:{key}:{format_cut(plan)}"
        params |= split_parameters(plan, extremes=query.function.is_extreme)
        request = build_scatter_read(cluster, TOP_OF_RANGE, params, key=key, options=options)
        reading = read(request, now=now, cache=cache)
        sources = find_sources(reading.rows, plan)
    return TopAnswer(
        query=query,
        items=merge_top(reading.rows, function=query.function, limit=query.limit),
        meta=reading.build_meta(sources=sources, now=now),
    )


def merge_top(rows: Iterable[Mapping[str, Any]], *, function: Function, limit: int) -> tuple[TopItem, ...]:
    """The first `limit` of all shards' lists, compared exactly; rows without a video are partitions without any."""
    ranked = []
    for row in rows:
        aggregate = Aggregate.from_row(row)
        exact = evaluate_exactly(function, aggregate)
        if aggregate is not None and exact is not None:
            value = evaluate(function, aggregate)
            ranked.append((-exact, row["video_id"], value, row["title"]))
    return tuple(
        TopItem(video_id=video_id, title=title, value=value)
        for _, video_id, value, title in heapq.nsmallest(limit, ranked, key=lambda item: item[:2])
        if value is not None
    )

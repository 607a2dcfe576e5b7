"""Reading sketches, and the raw events that are in none yet, of one video or of a channel.

Bytes that cannot be read as a sketch are not trusted, nor is any other of that answer: it is read once more, from raw
events alone.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from clusterproxy.proxy import ClusterProxy
from viewcounter.cache.read_cache import ReadCache, Rows
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.periods import PeriodPlan, name_cut, period_parameters
from viewcounter.queries.reading import CachePolicy, VideoRead, read_video
from viewcounter.queries.scattering import Scattered, scatter
from viewcounter.queries.sketched import SketchFunction, SketchLimits, condense
from viewcounter.storage.sketch_bytes import UnreadableSketch
from viewcounter.storage.sketch_reads import SKETCHES_OF_CHANNEL, SKETCHES_OF_VIDEOS

logger = logging.getLogger(__name__)

Read = TypeVar("Read")


def read_sketches_of_video(
    cluster: ClusterProxy,
    plan: PeriodPlan,
    *,
    video_id: str,
    partition: int,
    event_type_id: int,
    function: SketchFunction,
    limits: SketchLimits,
    now: datetime,
    options: ReadOptions,
    cache: ReadCache | None,
    find_generation: Callable[[Rows], int | None],
) -> VideoRead:
    """Rows as `condense` makes them. Raises what it and `read_video` raise."""
    parameters = period_parameters(plan, partitions={video_id: partition}, event_type_id=event_type_id)

    def ask(uses_sketches: bool) -> VideoRead:
        return read_video(
            cluster,
            SKETCHES_OF_VIDEOS,
            video_id=video_id,
            params=parameters
            | {"partitions": [partition]}
            | _get_bounds(function, limits, uses_sketches=uses_sketches),
            now=now,
            options=options,
            keeping=CachePolicy(
                key=f"sketches:{_name_kind(function)}:{event_type_id}:{name_cut(plan)}:{video_id}",
                cache=cache,
                find_generation=find_generation,
                condense=lambda rows: condense(rows, of_viewers=function.is_of_viewers, limits=limits),
            ),
        )

    return _ask_twice(ask, of=f"video {video_id!r}")


def read_sketches_of_channel(
    cluster: ClusterProxy,
    plan: PeriodPlan,
    *,
    channel_id: str,
    event_type_id: int,
    function: SketchFunction,
    limits: SketchLimits,
    now: datetime,
    options: ReadOptions,
    cache: ReadCache | None,
) -> Scattered:
    """The same of every shard; a bound that one of them meets is met by all."""
    parameters = period_parameters(plan, partitions={}, event_type_id=event_type_id) | {"channel_id": channel_id}

    def ask(uses_sketches: bool) -> Scattered:
        return scatter(
            cluster,
            SKETCHES_OF_CHANNEL,
            params=parameters | _get_bounds(function, limits, uses_sketches=uses_sketches),
            key=f"channel-sketches:{_name_kind(function)}:{event_type_id}:{name_cut(plan)}:{channel_id}",
            now=now,
            options=options,
            cache=cache,
            condense=lambda rows: condense(rows, of_viewers=function.is_of_viewers, limits=limits),
        )

    return _ask_twice(ask, of=f"channel {channel_id!r}")


def _get_bounds(function: SketchFunction, limits: SketchLimits, *, uses_sketches: bool) -> dict[str, Any]:
    return {
        "of_viewers": function.is_of_viewers,
        "uses_sketches": uses_sketches,
        "future_seconds": limits.future_seconds,
        "max_bytes": limits.max_bytes,
        "max_events": limits.max_events,
        "max_pieces": limits.max_pieces,
    }


def _name_kind(function: SketchFunction) -> str:
    """What is kept of an answer serves every percentile."""
    return "viewers" if function.is_of_viewers else "quantiles"


def _ask_twice(ask: Callable[[bool], Read], *, of: str) -> Read:
    try:
        return ask(True)
    except UnreadableSketch as error:
        logger.error("a sketch of %s cannot be read, its raw events are: %s", of, error)
    return ask(False)

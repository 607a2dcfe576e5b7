"""How many events of every type, over all time: of one video, or of many at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterproxy.proxy import ClusterProxy
from configservice.topology import Topology
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.reading import read_video
from viewcounter.queries.scattering import scatter
from viewcounter.storage.reads import COUNTS_OF_VIDEO, COUNTS_OF_VIDEOS


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """`counts` names every event type, in the order of their ids; a video never seen has zeros."""

    video_id: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CountsAnswer:
    video: VideoCounts
    meta: Meta


@dataclass(frozen=True, slots=True)
class ManyCountsAnswer:
    """In the order asked, each video once. Those that could not be read stand in `meta.missing` only."""

    videos: tuple[VideoCounts, ...]
    meta: Meta


def get_counts(cluster: ClusterProxy, *, video_id: str, now: datetime, options: ReadOptions = DEFAULT) -> CountsAnswer:
    read = read_video(cluster, COUNTS_OF_VIDEO, video_id=video_id, params={}, options=options)
    counts = {row["event_type_id"]: row["count"] for row in read.rows}
    return CountsAnswer(
        video=VideoCounts(video_id, _name_counts(cluster.topology, counts)),
        meta=build_meta([read.seen], sources=[Source.TOTAL], now=now, routes=read.routes),
    )


def get_counts_of_videos(
    cluster: ClusterProxy,
    *,
    video_ids: Sequence[str],
    max_videos: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
) -> ManyCountsAnswer:
    """Raises InvalidQuery for none or more than `max_videos`, and the shard's error when nothing could be read."""
    if not 1 <= len(video_ids) <= max_videos:
        raise InvalidQuery("video_ids", "invalid_length", f"must name 1 to {max_videos} videos, not {len(video_ids)}")
    topology = cluster.topology
    partitions = {v: get_partition(v, partition_count=topology.partition_count) for v in video_ids}
    scattered = scatter(
        cluster,
        COUNTS_OF_VIDEOS,
        params={"video_ids": list(partitions), "video_partitions": list(partitions.values())},
        partitions=set(partitions.values()),
        options=options,
    )
    counts: dict[str, dict[int, int]] = {}
    for row in scattered.rows:
        if row["video_id"] is not None:
            counts.setdefault(row["video_id"], {})[row["event_type_id"]] = row["count"]
    answered = [video_id for video_id, partition in partitions.items() if partition in scattered.seen]
    missing = tuple(video_id for video_id, partition in partitions.items() if partition not in scattered.seen)
    return ManyCountsAnswer(
        videos=tuple(VideoCounts(v, _name_counts(topology, counts.get(v, {}))) for v in answered),
        meta=build_meta(
            scattered.seen.values(), sources=[Source.TOTAL], now=now, missing=missing, routes=scattered.routes
        ),
    )


def _name_counts(topology: Topology, counts: Mapping[int, int]) -> dict[str, int]:
    return {event_type.name: counts.get(event_type.id, 0) for event_type in topology.event_types}

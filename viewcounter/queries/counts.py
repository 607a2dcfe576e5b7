"""Counts of events by type, over all time: of one video, of many videos, or of a channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route
from configservice.topology.model import Topology
from viewcounter.cache.memory import CacheEntry
from viewcounter.cache.read_cache import CacheResult, Origin, ReadCache, build_result
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.freshness import DEFAULT, ReadOptions, find_requirement
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.reading import StatementRead, build_video_read, get_seen, read
from viewcounter.queries.scattering import build_scatter_read, load_scattered
from viewcounter.queries.targets import find_catalogue_revision
from viewcounter.storage.channels import COUNTS_OF_CHANNEL
from viewcounter.storage.reads import COUNTS_OF_VIDEO, COUNTS_OF_VIDEOS


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """`counts` names every event type, in the order of their ids.

    `is_known`: the video has events or is in the catalogue; one that is not has zeros.
    """

    video_id: str
    is_known: bool
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CountsAnswer:
    video: VideoCounts
    meta: Meta


@dataclass(frozen=True, slots=True)
class ManyCountsAnswer:
    """In the order of the request, each video once. Those that could not be read are in `meta.missing` only."""

    videos: tuple[VideoCounts, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """`counts` names every event type, in the order of their ids.

    `catalogue_revision`: every change of the catalogue up to it is known to every shard that was read.
    """

    channel_id: str
    counts: Mapping[str, int]
    catalogue_revision: int
    meta: Meta


def get_counts(
    cluster: ClusterProxy,
    *,
    video_id: str,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
) -> CountsAnswer:
    key = _get_key(video_id)
    request = build_video_read(
        cluster, COUNTS_OF_VIDEO, {}, video_id=video_id, options=options, key=key, skip_shared_cache=True
    )
    reading = read(request, now=now, cache=cache)
    return _build_answer(cluster.topology, video_id, reading.results[key], now=now, routes=reading.routes)


def peek_counts(video_id: str, *, now: datetime, cache: ReadCache) -> CacheEntry | None:
    """A fresh entry of this process's memory. Never waits; None: call `get_counts`, in a thread."""
    return cache.peek(_get_key(video_id), now=now)


def build_cached_counts(topology: Topology, video_id: str, entry: CacheEntry, *, now: datetime) -> CountsAnswer:
    """The answer of `get_counts`, from what `peek_counts` has found."""
    return _build_answer(topology, video_id, build_result(entry, Origin.PROCESS), now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsRead(StatementRead):
    """Counts of many videos, each cached by itself. `videos` and `partitions` by key."""

    videos: Mapping[str, str]
    partitions: Mapping[str, int]

    def load(self, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        return load_scattered(
            self,
            {"video_ids": [self.videos[k] for k in keys], "video_partitions": [self.partitions[k] for k in keys]},
            partitions={key: [self.partitions[key]] for key in keys},
            choose_key=lambda row: _get_key(row["video_id"]),
            now=now,
        )


def get_counts_of_videos(
    cluster: ClusterProxy,
    *,
    video_ids: Sequence[str],
    max_videos: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
) -> ManyCountsAnswer:
    """Raises InvalidQuery for none or more than `max_videos`, and the shard's error when nothing could be read."""
    if not 1 <= len(video_ids) <= max_videos:
        raise InvalidQuery("video_ids", "invalid_length", f"must name 1 to {max_videos} videos, not {len(video_ids)}")
    topology = cluster.topology
    videos = _get_keys(video_ids)
    partitions = {key: get_partition(v, partition_count=topology.partition_count) for key, v in videos.items()}
    request = CountsRead(
        keys=list(videos),
        requirement=find_requirement(options, partitions=partitions.values()),
        allow_cached=not options.bypasses_cache,
        cluster=cluster,
        statement=COUNTS_OF_VIDEOS,
        params={},
        options=options,
        videos=videos,
        partitions=partitions,
    )
    reading = read(request, now=now, cache=cache)
    return _build_many(topology, videos, reading.results, now=now, routes=reading.routes)


def peek_counts_of_videos(
    topology: Topology, *, video_ids: Sequence[str], now: datetime, cache: ReadCache
) -> ManyCountsAnswer | None:
    """The answer from this process's memory if it has fresh entries of all videos, else None. Never waits."""
    videos = _get_keys(video_ids)
    results: dict[str, CacheResult] = {}
    for key in videos:
        entry = cache.peek(key, now=now)
        if entry is None:
            return None
        results[key] = build_result(entry, Origin.PROCESS)
    return _build_many(topology, videos, results, now=now)


def get_channel_counts(
    cluster: ClusterProxy,
    *,
    channel_id: str,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
) -> ChannelCounts:
    """Raises the first shard's error when no shard answered."""
    request = build_scatter_read(
        cluster, COUNTS_OF_CHANNEL, {"channel_id": channel_id}, key=f"channel-counts:{channel_id}", options=options
    )
    reading = read(request, now=now, cache=cache)
    counts: dict[int, int] = {}
    for row in reading.rows:
        if row["event_type_id"] is not None:
            counts[row["event_type_id"]] = counts.get(row["event_type_id"], 0) + int(row["count"])
    return ChannelCounts(
        channel_id=channel_id,
        counts={event_type.name: counts.get(event_type.id, 0) for event_type in cluster.topology.event_types},
        catalogue_revision=find_catalogue_revision(reading.rows),
        meta=reading.build_meta(sources=[Source.TOTAL], now=now),
    )


def _get_key(video_id: str) -> str:
    return f"counts:{video_id}"


def _get_keys(video_ids: Sequence[str]) -> dict[str, str]:
    return {_get_key(video_id): video_id for video_id in video_ids}


def _build_many(
    topology: Topology,
    videos: Mapping[str, str],
    results: Mapping[str, CacheResult],
    *,
    now: datetime,
    routes: tuple[Route, ...] = (),
) -> ManyCountsAnswer:
    found = {key: result for key, result in results.items() if result.rows}
    return ManyCountsAnswer(
        videos=tuple(_build_counts(topology, v, found[key]) for key, v in videos.items() if key in found),
        meta=build_meta(
            [get_seen(result.rows[0]) for result in found.values()],
            sources=[Source.TOTAL],
            now=now,
            results=found.values(),
            missing=tuple(v for key, v in videos.items() if key not in found),
            routes=routes,
        ),
    )


def _build_answer(
    topology: Topology, video_id: str, result: CacheResult, *, now: datetime, routes: tuple[Route, ...] = ()
) -> CountsAnswer:
    seen = get_seen(result.rows[0])
    return CountsAnswer(
        video=_build_counts(topology, video_id, result),
        meta=build_meta([seen], sources=[Source.TOTAL], now=now, results=[result], routes=routes),
    )


def _build_counts(topology: Topology, video_id: str, result: CacheResult) -> VideoCounts:
    counts = {row["event_type_id"]: row["count"] for row in result.rows}
    # A cached row of the previous release does not say; its video was most likely seen.
    is_known = result.rows[0].get("known", True)
    return VideoCounts(video_id, is_known, {t.name: counts.get(t.id, 0) for t in topology.event_types})

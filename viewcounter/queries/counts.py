"""How many events of every type, over all time: of one video, of many at once, or of a channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route
from configservice.topology.model import Topology
from viewcounter.cache.memory import Stored
from viewcounter.cache.read_cache import CachedPart, CacheRequest, Loaded, Origin, ReadCache, build_part, fetch
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.reading import CachePolicy, build_judge, get_seen, read_video
from viewcounter.queries.routes import describe_routes
from viewcounter.queries.scattering import load_parts, scatter
from viewcounter.queries.targets import find_catalogue_revision
from viewcounter.storage.channels import COUNTS_OF_CHANNEL
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
    keeping = CachePolicy(_get_key(video_id), cache, skip_shared_cache=True)
    reading = read_video(
        cluster, COUNTS_OF_VIDEO, video_id=video_id, params={}, now=now, options=options, keeping=keeping
    )
    return _build_answer(cluster.topology, video_id, reading.parts[0], now=now, routes=reading.routes)


def peek_counts(video_id: str, *, now: datetime, cache: ReadCache) -> Stored | None:
    """What this process has in its memory. Never waits; None says that `get_counts` has to be asked, in a thread."""
    return cache.peek(_get_key(video_id), now=now)


def build_kept_counts(topology: Topology, video_id: str, stored: Stored, *, now: datetime) -> CountsAnswer:
    """Of what `peek_counts` has found: the answer of `get_counts`."""
    return _build_answer(topology, video_id, build_part(stored, Origin.PROCESS), now=now)


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

    def load(keys: Sequence[str]) -> Loaded:
        return load_parts(
            cluster,
            COUNTS_OF_VIDEOS,
            params={"video_ids": [videos[k] for k in keys], "video_partitions": [partitions[k] for k in keys]},
            partitions={key: [partitions[key]] for key in keys},
            options=options,
            choose=lambda row: _get_key(row["video_id"]),
        )

    wanted = CacheRequest(
        keys=list(videos),
        load=load,
        allow_cached=not options.insists_on_now,
        accepts=build_judge(options, partitions=partitions.values(), now=now),
    )
    parts = fetch(cache, wanted, now=now).parts
    routes = describe_routes(topology, parts.values(), options=options, uses_cache=cache is not None)
    return _build_many(topology, videos, parts, now=now, routes=routes)


def peek_counts_of_videos(
    topology: Topology, *, video_ids: Sequence[str], now: datetime, cache: ReadCache
) -> ManyCountsAnswer | None:
    """As `peek_counts`, and what is made of it: all of them, or None."""
    videos = _get_keys(video_ids)
    parts: dict[str, CachedPart] = {}
    for key in videos:
        stored = cache.peek(key, now=now)
        if stored is None:
            return None
        parts[key] = build_part(stored, Origin.PROCESS)
    return _build_many(topology, videos, parts, now=now)


def get_channel_counts(
    cluster: ClusterProxy,
    *,
    channel_id: str,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
) -> ChannelCounts:
    """Raises the first shard's error when no shard answered."""
    reading = scatter(
        cluster,
        COUNTS_OF_CHANNEL,
        params={"channel_id": channel_id},
        key=f"channel-counts:{channel_id}",
        now=now,
        options=options,
        cache=cache,
    )
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
    parts: Mapping[str, CachedPart],
    *,
    now: datetime,
    routes: tuple[Route, ...] = (),
) -> ManyCountsAnswer:
    return ManyCountsAnswer(
        videos=tuple(_build_counts(topology, v, parts[key]) for key, v in videos.items() if key in parts),
        meta=build_meta(
            [get_seen(part.rows[0]) for part in parts.values()],
            sources=[Source.TOTAL],
            now=now,
            parts=parts.values(),
            missing=tuple(v for key, v in videos.items() if key not in parts),
            routes=routes,
        ),
    )


def _build_answer(
    topology: Topology, video_id: str, part: CachedPart, *, now: datetime, routes: tuple[Route, ...] = ()
) -> CountsAnswer:
    return CountsAnswer(
        video=_build_counts(topology, video_id, part),
        meta=build_meta([get_seen(part.rows[0])], sources=[Source.TOTAL], now=now, parts=[part], routes=routes),
    )


def _build_counts(topology: Topology, video_id: str, part: CachedPart) -> VideoCounts:
    counts = {row["event_type_id"]: row["count"] for row in part.rows}
    return VideoCounts(video_id, {t.name: counts.get(t.id, 0) for t in topology.event_types})

"""Answers of `queries` and of the catalogue as JSON objects. Times end in Z, as DRF's encoder writes UTC."""

from collections.abc import Sequence
from typing import Any

from configservice.topology.model import Topology
from viewcounter.api.read_options import encode_routes
from viewcounter.catalogue.models import Channel, Video
from viewcounter.queries.counts import CountsAnswer, ManyCountsAnswer, VideoCounts
from viewcounter.queries.meta import Meta
from viewcounter.queries.ranges import Interval
from viewcounter.queries.stats import StatsAnswer
from viewcounter.queries.top import TopAnswer

Json = dict[str, Any]


def encode_missing(shard_ids: Sequence[int], *, topology: Topology) -> Json:
    """For lists over all shards: which did not answer."""
    return {"partial": bool(shard_ids), "missing": [topology.get_shard(shard_id).name for shard_id in shard_ids]}


def encode_counts(answer: CountsAnswer) -> Json:
    return {**_encode_video_counts(answer.video), "meta": encode_meta(answer.meta)}


def encode_many_counts(answer: ManyCountsAnswer) -> Json:
    return {"videos": [_encode_video_counts(video) for video in answer.videos], "meta": encode_meta(answer.meta)}


def encode_stats(answer: StatsAnswer) -> Json:
    query = answer.query
    body: Json = {
        f"{query.target.kind}_id": query.target.id,
        "event_type": query.event_type,
        "function": query.function.value,
        "start_time": query.period.start,
        "end_time": query.period.end,
        "value": answer.value,
    }
    if query.interval is not None and answer.series is not None:
        body["interval"] = query.interval.value
        body["tz"] = query.zone_name
        if query.interval is Interval.WEEK:
            body["week_start"] = query.week_start.value
        body["series"] = [{"start": bucket.start, "value": bucket.value} for bucket in answer.series]
    meta = encode_meta(answer.meta)
    if answer.catalogue_revision is not None:
        meta["catalogue_revision"] = answer.catalogue_revision
    return {**body, "meta": meta}


def encode_top(answer: TopAnswer) -> Json:
    query = answer.query
    return {
        "event_type": query.event_type,
        "function": query.function.value,
        "start_time": query.period.start,
        "end_time": query.period.end,
        "items": [{"video_id": i.video_id, "title": i.title, "value": i.value} for i in answer.items],
        "meta": encode_meta(answer.meta),
    }


def encode_channel(channel: Channel) -> Json:
    return {"channel_id": channel.channel_id, "title": channel.title, "revision": channel.revision}


def encode_video(video: Video) -> Json:
    return {
        "video_id": video.video_id,
        "title": video.title,
        "channel_id": video.channel_id,
        "revision": video.revision,
    }


def _encode_video_counts(video: VideoCounts) -> Json:
    return {"video_id": video.video_id, "known": video.is_known, "counts": dict(video.counts)}


def encode_meta(meta: Meta) -> Json:
    encoded: Json = {
        "complete_until": meta.complete_until,
        "as_of": meta.as_of,
        "stale": meta.stale,
        **({"age_seconds": meta.age_seconds} if meta.stale else {}),
        "partial": meta.partial,
        "missing": list(meta.missing),
        "source": [source.value for source in meta.sources],
    }
    if meta.approximate:
        encoded["approximate"] = {function: dict(error) for function, error in meta.approximate.items()}
    if meta.lost:
        encoded["lost"] = [
            {"partition": loss.partition, "after": loss.after, "through": loss.through, "found_at": loss.found_at}
            for loss in meta.lost
        ]
    if meta.routes:
        encoded["route"] = encode_routes(meta.routes)
    return encoded

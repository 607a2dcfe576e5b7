"""Reads the catalogue, in the control database and on the shards."""

from clusterproxy.plan import Consistency
from shardproxy.query import Query, QueryClass
from viewcounter.catalogue.models import Channel, Video

_VIDEOS = Query(
    "videos",
    "SELECT video_id, title, channel_id, revision FROM video WHERE partition = ANY(%(partitions)s)",
    QueryClass.REPORT,
)
_CHANNELS = Query(
    "channels",
    "SELECT channel_id, title, revision FROM channel WHERE cardinality(%(partitions)s::int[]) > 0",
    QueryClass.REPORT,
)
_CURSORS = Query(
    "cursors",
    "SELECT partition, revision FROM catalogue_cursor WHERE partition = ANY(%(partitions)s)",
    QueryClass.REPORT,
)


def read_catalogue():
    """Channels and videos of the control database: id -> (values, revision)."""
    return (
        {c.channel_id: (c.title, c.revision) for c in Channel.objects.all()},
        {v.video_id: (v.title, v.channel_id, v.revision) for v in Video.objects.all()},
    )


def read_copies(cluster):
    """The same of every shard that answers: shard id -> (channels, videos)."""
    channels = cluster.scatter(_CHANNELS, {}, consistency=Consistency.STRONG)
    videos = cluster.scatter(_VIDEOS, {}, consistency=Consistency.STRONG)
    return {
        shard_id: (
            {r["channel_id"]: (r["title"], r["revision"]) for r in channels.results[shard_id].rows},
            {r["video_id"]: (r["title"], r["channel_id"], r["revision"]) for r in videos.results[shard_id].rows},
        )
        for shard_id in videos.results
    }


def read_cursors(cluster):
    """Shard id -> the distinct cursors of its partitions."""
    scattered = cluster.scatter(_CURSORS, {}, consistency=Consistency.STRONG)
    return {shard_id: {row["revision"] for row in result.rows} for shard_id, result in scattered.results.items()}

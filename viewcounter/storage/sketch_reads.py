"""Read statements for a period, from sketches and raw events; `storage.ranges` has those from aggregates."""

from dataclasses import replace

from shardproxy.query import QueryClass
from viewcounter.storage.named_sql import derive_query, load_queries

SKETCHES_OF_VIDEOS = replace(load_queries("sketch_reads.sql")["sketches_of_videos"], binary=True)
"""Parameters: those of `storage.ranges.BUCKETS_OF_VIDEOS`, `of_viewers` (else of values), `uses_sketches` (else raw
events only), `future_seconds`, and the bounds `max_bytes`, `max_events`, `max_pieces`. At least one row for each
partition: its state, the figures that the bounds limit, and `source` (null: no data), `piece`, `bucket` (from 1),
`events` that are in `data`, `counted` and `since` (of the whole piece), `data`: a sketch, or raw events of eight bytes
each, big-endian; null for none."""

SKETCHES_OF_CHANNEL = derive_query(
    SKETCHES_OF_VIDEOS,
    name="sketches_of_channel",
    query_class=QueryClass.REPORT,
    changes={
        "CROSS JOIN unnest(%(video_partitions)s::smallint[], %(video_ids)s::text[]) AS v (partition, video_id)": (
            "JOIN video AS v ON v.channel_id = %(channel_id)s"
        ),
        "    f.source, f.piece, f.bucket, f.events, f.counted, f.since, f.data\n": (
            "    f.source, f.piece, f.bucket, f.events, f.counted, f.since, f.data, k.revision AS catalogue_revision\n"
        ),
        "LEFT JOIN found AS f ON f.partition = s.partition": (
            "LEFT JOIN found AS f ON f.partition = s.partition\n"
            "LEFT JOIN catalogue_cursor AS k ON k.partition = s.partition"
        ),
    },
)
"""Parameters: those of SKETCHES_OF_VIDEOS, with channel_id instead of video_partitions and video_ids."""

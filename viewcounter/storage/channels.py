"""Read statements about channels.

The statement for a period is derived from the text of the one for videos, with another list of videos, so that tiers,
dirty buckets and horizons have one implementation.
"""

from shardproxy.query import QueryClass
from viewcounter.storage.named_sql import derive_query, load_queries
from viewcounter.storage.ranges import BUCKETS_OF_VIDEOS

_SQL = load_queries("channels.sql")

COUNTS_OF_CHANNEL = _SQL["counts_of_channel"]
"""Parameters: partitions, channel_id. Rows as COUNTS_OF_VIDEOS, by partition instead of video."""
TOTAL_OF_CHANNEL = _SQL["total_of_channel"]
"""Parameters: partitions, channel_id, event_type_id."""


BUCKETS_OF_CHANNEL = derive_query(
    BUCKETS_OF_VIDEOS,
    name="buckets_of_channel",
    query_class=QueryClass.REPORT,
    changes={
        "    FROM unnest(%(video_partitions)s::smallint[], %(video_ids)s::text[]) AS v (partition, video_id)\n"
        "    JOIN seen AS s ON s.partition = v.partition\n": (
            "    FROM video AS v JOIN seen AS s ON s.partition = v.partition AND v.channel_id = %(channel_id)s\n"
        ),
        "    b.bucket, b.count, b.sum, b.min, b.max\n": (
            "    b.bucket, b.count, b.sum, b.min, b.max, k.revision AS catalogue_revision\n"
        ),
        "LEFT JOIN summed AS b ON b.partition = s.partition": (
            "LEFT JOIN summed AS b ON b.partition = s.partition\n"
            "LEFT JOIN catalogue_cursor AS k ON k.partition = s.partition"
        ),
    },
)
"""Parameters: those of BUCKETS_OF_VIDEOS, with channel_id instead of video_partitions and video_ids."""

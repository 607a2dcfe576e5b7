"""The counting service: from an HTTP event to an exact count.

Follow an event through the folders: `gateway` (HTTP in) -> `eventlog` (durable, partitioned) ->
`processing` (drains) -> `storage` (the flush transaction on a shard). Follow a read: `api` -> `queries` ->
`clusterproxy` -> `shardproxy`. `events` holds the words both share, `catalogue` the videos and channels.
"""

__version__ = "0.1.0"

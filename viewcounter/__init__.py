"""The counting service: from an HTTP event to an exact count.

An event passes `ingest` (HTTP) -> `eventlog` (durable, partitioned) -> `processing` (drains) -> `storage` (the flush
transaction on a shard). A read passes `api` -> `queries` -> `cache` -> `clusterproxy` -> `shardproxy`. `events` has the
types that both share, `catalogue` the videos and channels.
"""

__version__ = "0.1.0"

"""Watermarks of partitions without new events, and logs that have lost their end.

Both follow from one barrier of the log: everything acknowledged before it lies at or below the ends that it returns. A
partition whose position is its end is complete up to the time before the barrier. A position past the end has been
applied from entries that the log no longer has.
"""

from collections.abc import Collection
from datetime import datetime

from clusterproxy.proxy import ClusterProxy
from shardproxy.query import QueryClass
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.processing.errors import LogEndLost
from viewcounter.storage.leases import OwnedPartition
from viewcounter.storage.partitions import advance_watermarks


def advance_idle_watermarks(
    cluster: ClusterProxy, log: EventLog, shard_id: int, partitions: Collection[OwnedPartition], *, now: datetime
) -> int:
    """Of partitions that the shard owns by the topology, as read before the call. Returns the number of watermarks that
    moved. `now` is of this process's clock, taken before the call. Raises LogEndLost, and errors of log and shard."""
    ends = log.barrier([row.partition for row in partitions])
    positions = {row.partition: Position.parse(row.position) for row in partitions}
    lost = {p: position for p, position in positions.items() if ends[p] < position}
    if lost:
        raise LogEndLost(lost)
    idle = {row.partition: row for row in partitions if ends[row.partition] == positions[row.partition]}
    if not idle:
        return 0
    with cluster.shard_transaction(shard_id, query_class=QueryClass.FLUSH) as connection:
        return advance_watermarks(
            connection,
            {p: row.position for p, row in idle.items()},
            epochs={p: row.epoch for p, row in idle.items()},
            read_at=now,
        )

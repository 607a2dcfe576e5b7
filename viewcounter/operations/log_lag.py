"""How far the drains are behind the event log, all partitions together."""

from collections.abc import Mapping
from dataclasses import dataclass

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from viewcounter.eventlog.interface import START, EventLog, Position
from viewcounter.storage.partitions import READ_STATES


@dataclass(frozen=True, slots=True)
class LogLag:
    """A partition's lag is the time between its last entry and the last one applied.

    Partitions of `missing_shards` (shard ids) are in none of the numbers.
    """

    partitions: int
    unread_partitions: int
    lag_seconds_sum: float
    lag_seconds_max: float
    missing_shards: tuple[int, ...]


def compute_log_lag(
    tails: Mapping[int, Position], positions: Mapping[int, Position], *, missing_shards: tuple[int, ...]
) -> LogLag:
    """Pure. A partition of which nothing was applied yet is unread, but its lag is not the time since 1970."""
    lags_seconds = []
    unread = 0
    for partition, position in positions.items():
        tail = tails.get(partition, START)
        if tail > position:
            unread += 1
            lags_seconds.append(0.0 if position == START else (tail.ms - position.ms) / 1000)
    return LogLag(
        partitions=len(positions),
        unread_partitions=unread,
        lag_seconds_sum=round(sum(lags_seconds), 3),
        lag_seconds_max=round(max(lags_seconds, default=0.0), 3),
        missing_shards=missing_shards,
    )


def read_log_lag(cluster: ClusterProxy, log: EventLog) -> LogLag:
    """Raises what the log, the topology and the shards raise; a shard that does not answer is named instead."""
    tails = log.read_tails(range(cluster.topology.partition_count))
    scattered = cluster.scatter(READ_STATES, {}, consistency=Consistency.STRONG)
    positions = {
        row["partition"]: Position.parse(row["position"])
        for result in scattered.results.values()
        for row in result.rows
    }
    return compute_log_lag(tails.positions, positions, missing_shards=tuple(sorted(scattered.missing)))

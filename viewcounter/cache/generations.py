"""The current cache generation of each partition, read from its shard and known in this process for a moment.

A correction renews the generation in its own transaction. So no invalidation is sent after the commit, which a crash
could lose: an entry of a closed period is valid while its generation is the one that the shard has, and the shard is
queried again after `known_seconds`.
"""

import time
from dataclasses import dataclass

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from runtime.errors import Retryable
from runtime.singleflight import SingleFlight, WaitedTooLong
from shardproxy.errors import ShardProxyError
from viewcounter.storage.partitions import READ_GENERATIONS


@dataclass(frozen=True, slots=True)
class _Known:
    """Of all partitions of one shard; `queried_at` on the monotonic clock, before the query."""

    generations: dict[int, int]
    queried_at: float


class GenerationBoard:
    """Thread-safe. Many readers at once cause one query a shard."""

    def __init__(self, *, known_seconds: float, wait_seconds: float, max_followers: int) -> None:
        self._known_seconds = known_seconds
        self._wait_seconds = wait_seconds
        self._by_shard: dict[int, _Known] = {}
        self._flights: SingleFlight[_Known] = SingleFlight(max_followers=max_followers)

    def find(self, cluster: ClusterProxy, partition: int) -> int | None:
        """None while the partition's shard does not answer, or does not hold it."""
        shard_id = cluster.topology.get_shard_of(partition).id
        known = self._by_shard.get(shard_id)
        if known is None or partition not in known.generations or self._is_old(known):
            try:
                known = self._flights.run(
                    shard_id,
                    lambda: self._query(cluster, shard_id, partition),
                    deadline_at=time.monotonic() + self._wait_seconds,
                ).answer
            except (ClusterProxyError, ShardProxyError, WaitedTooLong) as error:
                if isinstance(error, Retryable):
                    return None
                raise
        return known.generations.get(partition)

    def clear(self) -> None:
        self._by_shard.clear()

    def _is_old(self, known: _Known) -> bool:
        return time.monotonic() - known.queried_at > self._known_seconds

    def _query(self, cluster: ClusterProxy, shard_id: int, partition: int) -> _Known:
        queried_at = time.monotonic()
        result = cluster.read(partition, READ_GENERATIONS, {"partitions": cluster.topology.get_partitions_of(shard_id)})
        known = _Known({row["partition"]: row["generation"] for row in result.rows}, queried_at)
        self._by_shard[result.shard_id] = known
        return known

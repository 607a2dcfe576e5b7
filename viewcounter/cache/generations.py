"""The generation in force of each partition, as its shard says, known in this process for a moment.

A correction renews the generation in the transaction that corrects. So there is nothing to be sent after the commit,
and nobody who could die before sending it: what is kept of closed windows is valid while its own generation is
the one that the shard names, and the shard is asked again after `known_seconds`.
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
    """Of all partitions of one shard; `asked_at` on the monotonic clock, before the shard was asked."""

    generations: dict[int, int]
    asked_at: float


class GenerationBoard:
    """Thread-safe. Many readers at once cause one question a shard."""

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
                    lambda: self._ask(cluster, shard_id, partition),
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
        return time.monotonic() - known.asked_at > self._known_seconds

    def _ask(self, cluster: ClusterProxy, shard_id: int, partition: int) -> _Known:
        asked_at = time.monotonic()
        result = cluster.read(partition, READ_GENERATIONS, {"partitions": cluster.topology.get_partitions_of(shard_id)})
        known = _Known({row["partition"]: row["generation"] for row in result.rows}, asked_at)
        self._by_shard[result.shard_id] = known
        return known

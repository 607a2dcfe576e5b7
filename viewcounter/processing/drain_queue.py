"""Which drains are queued or running, so that a partition has at most one of each and a sick shard few.

Marks in the cache server, each with an expiry. They only save work: without them, or with wrong ones, drains
run twice or a little later, and the flush's compare-and-set keeps the counts exact.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from runtime.valkey import ValkeyError, build_client
from viewcounter.processing.settings import ThrottlePolicy
from viewcounter.processing.shard_throttle import Health, max_concurrent_drains

logger = logging.getLogger(__name__)

PREFIX = "drain:"
LEASES_OF_ANY_CLUSTER = format_cache_key("*", f"{PREFIX}lease:*")
"""A pattern of the keys of drains under way."""


class DrainQueue:
    """Marks of one cluster. Every call is bounded in time and, when the server is away, errs towards draining."""

    def __init__(
        self,
        url: str,
        *,
        get_cluster_id: Callable[[], str],
        queued_seconds: int,
        lease_seconds: int,
        timeout_seconds: float,
        strain: ThrottlePolicy,
        slot: str | None = None,
    ) -> None:
        """`slot` names this process among those that drain; None: by its host and pid."""
        self._get_cluster_id = get_cluster_id
        self._queued_seconds = queued_seconds
        self._lease_seconds = lease_seconds
        self._strain = strain
        self._slot = f"{socket.gethostname()}:{os.getpid()}" if slot is None else slot
        self._redis: Any = build_client(url, timeout_seconds=timeout_seconds)

    def claim(self, by_shard: Mapping[int, Collection[int]]) -> list[int]:
        """Of these partitions, those with no drain queued or running, now marked as queued; none of a shard that
        pauses."""
        shards = [shard_id for shard_id, partitions in by_shard.items() if partitions]
        if not shards:
            return []
        try:
            paused = self._redis.mget([self._pause_key(shard_id) for shard_id in shards])
            wanted = [p for s, pause in zip(shards, paused, strict=True) if pause is None for p in by_shard[s]]
            return self._mark_queued(wanted)
        except (ValkeyError, ClusterUnknown) as error:
            everything = [p for shard_id in shards for p in by_shard[shard_id]]
            logger.warning("drain marks unavailable, queueing %d drains without: %s", len(everything), error)
            return everything

    def start(self, partition: int, *, shard_id: int, siblings: Iterable[int]) -> bool:
        """The queued drain begins: False when another one of the partition is alive, or as many of its `siblings`, the
        partitions of its shard, as this may take of the fleet."""
        try:
            if not self._may_run(partition, shard_id, siblings):
                return False
            return bool(self._redis.set(self._lease_key(partition), 1, nx=True, ex=self._lease_seconds))
        except (ValkeyError, ClusterUnknown) as error:
            logger.warning("drain marks unavailable, draining partition %d without: %s", partition, error)
            return True

    def renew(self, partition: int) -> None:
        try:
            self._redis.set(self._lease_key(partition), 1, ex=self._lease_seconds)
        except (ValkeyError, ClusterUnknown) as error:
            logger.warning("lease of partition %d not renewed: %s", partition, error)

    def finish(self, partition: int, *, shard_id: int, health: Health | None) -> None:
        """The drain has ended and found its shard like this; None: it cannot say."""
        try:
            self._redis.delete(self._lease_key(partition))
            if health is not None:
                self._record_health(shard_id, health)
        except (ValkeyError, ClusterUnknown) as error:
            logger.warning("lease of partition %d not released, it expires: %s", partition, error)

    def _mark_queued(self, partitions: list[int]) -> list[int]:
        if not partitions:
            return []
        running = self._redis.mget([self._lease_key(p) for p in partitions])
        idle = [p for p, lease in zip(partitions, running, strict=True) if lease is None]
        with self._redis.pipeline(transaction=False) as pipeline:
            for partition in idle:
                pipeline.set(self._queued_key(partition), 1, nx=True, ex=self._queued_seconds)
            return [p for p, was_free in zip(idle, pipeline.execute(), strict=True) if was_free]

    def _may_run(self, partition: int, shard_id: int, siblings: Iterable[int]) -> bool:
        now = time.time()
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.delete(self._queued_key(partition))
            pipeline.zadd(self._slots_key(), {self._slot: now})
            pipeline.zremrangebyscore(self._slots_key(), "-inf", now - self._strain.forget_seconds)
            pipeline.zcard(self._slots_key())
            pipeline.mget([self._pause_key(shard_id), self._failures_key(shard_id), self._slow_key(shard_id)])
            *_, slot_count, (pause, failures, slow) = pipeline.execute()
        if pause is not None:
            return False
        limit = max_concurrent_drains(is_failing=failures is not None, is_slow=slow is not None, slot_count=slot_count)
        if limit is None:
            return True
        leases = self._redis.mget([self._lease_key(p) for p in siblings])
        return sum(lease is not None for lease in leases) < limit

    def _record_health(self, shard_id: int, health: Health) -> None:
        match health:
            case Health.WELL:
                self._redis.delete(self._failures_key(shard_id), self._slow_key(shard_id))
            case Health.SLOW:
                self._redis.delete(self._failures_key(shard_id))
                self._redis.set(self._slow_key(shard_id), 1, ex=self._strain.forget_seconds)
            case Health.FAILING:
                with self._redis.pipeline(transaction=False) as pipeline:
                    pipeline.incr(self._failures_key(shard_id))
                    pipeline.expire(self._failures_key(shard_id), self._strain.forget_seconds)
                    failure_count, _ = pipeline.execute()
                seconds = self._strain.pause.compute_seconds(failure_count)
                self._redis.set(self._pause_key(shard_id), 1, px=max(1, round(seconds * 1000)))

    def _slots_key(self) -> str:
        """Processes that have begun a drain lately, by when."""
        return self._name_key("slots")

    def _queued_key(self, partition: int) -> str:
        return self._name_key(f"queued:{partition}")

    def _lease_key(self, partition: int) -> str:
        return self._name_key(f"lease:{partition}")

    def _pause_key(self, shard_id: int) -> str:
        return self._name_key(f"pause:{shard_id}")

    def _failures_key(self, shard_id: int) -> str:
        return self._name_key(f"failures:{shard_id}")

    def _slow_key(self, shard_id: int) -> str:
        return self._name_key(f"slow:{shard_id}")

    def _name_key(self, name: str) -> str:
        """Raises ClusterUnknown."""
        return format_cache_key(self._get_cluster_id(), PREFIX + name)

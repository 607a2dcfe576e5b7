"""Which drains are queued or running, so that a partition has at most one of each.

Marks in the cache server, each with an expiry. They only save work: without them, or with wrong ones, drains
run twice or a little later, and the flush's compare-and-set keeps the counts exact.
"""

import logging
from collections.abc import Iterable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)


class DrainQueue:
    """Marks of one cluster. Every call is bounded in time and, when the server is away, errs towards draining."""

    def __init__(self, url: str, *, queued_seconds: int, lease_seconds: int, timeout_seconds: float) -> None:
        self._queued_seconds = queued_seconds
        self._lease_seconds = lease_seconds
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )

    def claim(self, partitions: Iterable[int]) -> list[int]:
        """Of these, the partitions with no drain queued or running; each is now marked as queued."""
        wanted = list(partitions)
        if not wanted:
            return []
        try:
            running = self._redis.mget([_get_lease_key(p) for p in wanted])
            idle = [p for p, lease in zip(wanted, running, strict=True) if lease is None]
            with self._redis.pipeline(transaction=False) as pipeline:
                for partition in idle:
                    pipeline.set(_get_queued_key(partition), 1, nx=True, ex=self._queued_seconds)
                marked = pipeline.execute()
        except redis.RedisError as error:
            logger.warning("drain marks unavailable, queueing %d drains without: %s", len(wanted), error)
            return wanted
        return [p for p, was_free in zip(idle, marked, strict=True) if was_free]

    def start(self, partition: int) -> bool:
        """The queued drain begins: False when another drain of the partition is alive."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.delete(_get_queued_key(partition))
                pipeline.set(_get_lease_key(partition), 1, nx=True, ex=self._lease_seconds)
                return bool(pipeline.execute()[1])
        except redis.RedisError as error:
            logger.warning("drain marks unavailable, draining partition %d without: %s", partition, error)
            return True

    def renew(self, partition: int) -> None:
        try:
            self._redis.set(_get_lease_key(partition), 1, ex=self._lease_seconds)
        except redis.RedisError as error:
            logger.warning("lease of partition %d not renewed: %s", partition, error)

    def finish(self, partition: int) -> None:
        try:
            self._redis.delete(_get_lease_key(partition))
        except redis.RedisError as error:
            logger.warning("lease of partition %d not released, it expires: %s", partition, error)


def _get_queued_key(partition: int) -> str:
    return f"drain:queued:{partition}"


def _get_lease_key(partition: int) -> str:
    return f"drain:lease:{partition}"

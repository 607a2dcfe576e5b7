"""Clients of Valkey, and of Redis: one attempt a call, within one time limit.

redis-py by itself would retry for seconds. Here a call fails within `timeout_seconds`, and the caller decides what
that means. TLS, user and database are parts of the address.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime.breaker import Breaker, BreakerEvent, BreakerState
from runtime.metrics import SHARED_CACHE_ERRORS

ValkeyClient = redis.Redis
ValkeyError = redis.RedisError
"""What a call raises, whatever went wrong."""


def build_client(url: str, *, timeout_seconds: float, max_connections: int | None = None) -> ValkeyClient:
    """Thread-safe, connects at the first call. A call that finds `max_connections` in use fails at once."""
    return redis.Redis.from_url(url, max_connections=max_connections, **_build_limits(timeout_seconds, Retry))


def build_pooled_client(url: str, *, timeout_seconds: float, max_connections: int) -> ValkeyClient:
    """As `build_client`, but a call waits up to `timeout_seconds` for one of `max_connections`."""
    limits = _build_limits(timeout_seconds, Retry)
    return redis.Redis.from_pool(
        redis.BlockingConnectionPool.from_url(url, timeout=timeout_seconds, max_connections=max_connections, **limits)
    )


def build_async_client(url: str, *, timeout_seconds: float, max_connections: int) -> redis.asyncio.Redis:
    """As `build_pooled_client`, for one event loop."""
    limits = _build_limits(timeout_seconds, AsyncRetry)
    return redis.asyncio.Redis.from_pool(
        redis.asyncio.BlockingConnectionPool.from_url(
            url, timeout=timeout_seconds, max_connections=max_connections, **limits
        )
    )


def _build_limits(timeout_seconds: float, retry: type[Retry] | type[AsyncRetry]) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "socket_keepalive": True,
        "retry": retry(NoBackoff(), 0),
        "protocol": 2,  # RESP3 would cost each new connection a round trip for HELLO
    }


class CacheBreaker:
    """For calls to the cache server that may be left out: a dead server costs nothing, a frozen one a call a second.

    Thread-safe. `failed` is logged when it opens, `recovered` when the server answers again.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        open_seconds: float,
        failed: str,
        recovered: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._breaker = Breaker(open_seconds=open_seconds)
        self._failed = failed
        self._recovered = recovered
        self._clock = clock

    def try_pass(self) -> bool:
        """Whether to call; then `report_success` or `report_failure` follows."""
        return self._breaker.try_pass(now=self._clock())

    def report_success(self) -> None:
        if self._breaker.report(BreakerEvent.SUCCESS, now=self._clock()) is not BreakerState.CLOSED:
            self._logger.info("%s", self._recovered)

    def report_failure(self, error: Exception) -> None:
        SHARED_CACHE_ERRORS.inc()
        if self._breaker.report(BreakerEvent.FAILURE, now=self._clock()) is BreakerState.CLOSED:
            self._logger.warning("%s: %s", self._failed, error)

"""Subscription to published epochs on the cache's channel. A missed message costs one poll interval, nothing else."""

import time
from collections.abc import Callable
from typing import Any

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from configservice.topology.publication import TOPOLOGY_CHANNEL
from runtime.valkey import ValkeyError, build_client

TIMEOUT_SECONDS = 1.0
UNKNOWN_SECONDS = 0.2
"""Pause while the process does not know its cluster id yet."""
SILENCE_SECONDS = 5.0
"""After this much silence the server is pinged, and has as long again to answer."""


class PublishedEpochs:
    """A subscription that connects at the first `wait`. Owned by one thread.

    Without pings, a subscriber could not tell a frozen server, or a connection dropped by a firewall, from a quiet one.
    """

    def __init__(self, url: str, *, get_cluster_id: Callable[[], str]) -> None:
        """`get_cluster_id` must not block; while it raises ClusterUnknown, `wait` returns None."""
        self._get_cluster_id = get_cluster_id
        self._client = build_client(url, timeout_seconds=TIMEOUT_SECONDS, max_connections=1)
        self._subscription: Any = None
        self._last_message_at = 0.0
        self._pinged_at: float | None = None

    def wait(self, timeout_seconds: float) -> int | None:
        """The next published epoch; None on timeout. Raises ValkeyError or OSError when the server does not answer."""
        try:
            return self._wait(timeout_seconds)
        except (ValkeyError, OSError):
            self.close()
            raise

    def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _wait(self, timeout_seconds: float) -> int | None:
        if self._subscription is None:
            try:
                self._subscribe(self._get_cluster_id())
            except ClusterUnknown:
                time.sleep(min(timeout_seconds, UNKNOWN_SECONDS))
                return None
        else:
            self._check_alive(now=time.monotonic())
        message = self._subscription.get_message(timeout=timeout_seconds)
        if message is None:
            return None
        self._last_message_at, self._pinged_at = time.monotonic(), None
        return int(message["data"]) if message["type"] == "message" else None

    def _subscribe(self, cluster_id: str) -> None:
        self._subscription = self._client.pubsub()  # type: ignore[no-untyped-call]
        self._subscription.subscribe(format_cache_key(cluster_id, TOPOLOGY_CHANNEL))
        self._last_message_at, self._pinged_at = time.monotonic(), None

    def _check_alive(self, *, now: float) -> None:
        if self._pinged_at is not None:
            if now - self._pinged_at > SILENCE_SECONDS:
                raise TimeoutError(f"no sign of life for {now - self._last_message_at:.0f} s")
        elif now - self._last_message_at > SILENCE_SECONDS:
            self._subscription.ping()
            self._pinged_at = now

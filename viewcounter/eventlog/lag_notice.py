"""Lag of the drains behind the log, published to every gateway through the cache server.

The task that measures the lag for the metrics stores a notice with an expiry; without workers, or without the cache
server, there is no notice, and the lag is unknown.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from configservice.topology.value_macs import ValueAuthenticator
from runtime.errors import Retryable
from runtime.valkey import ValkeyError, build_client

LAG_KEY = "lag:4"
"""The number grows with each change of the stored form: notices of another form are not read."""

_encoder = msgspec.msgpack.Encoder()


class LagNotice(msgspec.Struct, frozen=True, array_like=True):
    """`bytes`: estimated size of the uncounted events in the log, of all partitions. `seconds`: more than half of the
    measured partitions have an uncounted entry older than this; so one stopped partition sheds no events of the others.
    """

    bytes: int
    seconds: float


_decoder = msgspec.msgpack.Decoder(LagNotice)


class LagUnknown(Exception, Retryable):
    """The cache server does not answer, or the process does not know its cluster yet. Until then the lag is unknown."""


class LagBoard(Protocol):
    def read(self) -> LagNotice | None: ...

    def close(self) -> None: ...


class SharedLagBoard:
    """Thread-safe. Every call is bounded by the timeout; nothing is retried. `keep_seconds`: lifetime of a notice."""

    def __init__(
        self,
        url: str,
        *,
        get_cluster_id: Callable[[], str],
        authenticator: ValueAuthenticator,
        timeout_seconds: float,
        keep_seconds: float,
    ) -> None:
        self._authenticator = authenticator
        self._get_cluster_id = get_cluster_id
        self._keep_ms = max(1, int(keep_seconds * 1000))
        self._redis = build_client(url, timeout_seconds=timeout_seconds)

    def write(self, notice: LagNotice) -> None:
        """Raises LagUnknown."""
        try:
            name, good_until = self._name_key(), time.time() + self._keep_ms / 1000
            value = self._authenticator.protect(_encoder.encode(notice), name=name, good_until=good_until)
            self._redis.set(name, value, px=self._keep_ms)
        except (ValkeyError, ClusterUnknown) as error:
            raise LagUnknown(str(error)) from error

    def read(self) -> LagNotice | None:
        """None without a notice that a process of this cluster has written. Raises LagUnknown."""
        try:
            name = self._name_key()
            value = self._redis.get(name)
        except (ValkeyError, ClusterUnknown) as error:
            raise LagUnknown(str(error)) from error
        if not isinstance(value, bytes):
            return None
        authentic = self._authenticator.read(value, name=name, now=time.time())
        try:
            return None if authentic is None else _decoder.decode(authentic)
        except msgspec.DecodeError:
            return None

    def close(self) -> None:
        self._redis.close()

    def _name_key(self) -> str:
        return format_cache_key(self._get_cluster_id(), LAG_KEY)

"""Answers kept by their Idempotency-Key, in the cache that all processes share.

A key is claimed before the events are appended and holds the answer afterwards, for a window. Nothing depends on it:
event ids make every retry safe, this only spares the log a second copy and gives the client the answer that it missed.
So when the cache server does not answer, the request is taken as if it had no key.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from configservice.topology.value_macs import ValueAuthenticator
from runtime.metrics import SHARED_CACHE_ERRORS
from runtime.valkey import CacheBreaker, ValkeyError, build_async_client

logger = logging.getLogger(__name__)

KEY_PREFIX = "idempotency:3:"
"""Behind the cluster's id. The number grows whenever answers are kept in another form, so that two releases side by
side do not meet."""


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """`digest` of the request; `answer` is empty while the request is under way."""

    digest: bytes
    answer: bytes = b""


class KeptAnswers(Protocol):
    """Best effort, bounded in time, and never raises: what cannot be reached is not there."""

    async def claim(self, name: str, kept: StoredResponse) -> StoredResponse | None:
        """Take `name` for a while; what it holds already, if it does. None means: go on, whether taken or not."""

    async def keep(self, name: str, kept: StoredResponse) -> None: ...

    async def release(self, name: str) -> None: ...

    async def close(self) -> None: ...


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredResponse)


class SharedAnswers:
    """In Valkey. Lives on one event loop. `claim_seconds`: how long a request may be under way before another one
    with its key begins."""

    def __init__(
        self,
        url: str,
        *,
        get_cluster_id: Callable[[], str],
        authenticator: ValueAuthenticator,
        timeout_seconds: float,
        open_seconds: float,
        max_connections: int,
        claim_seconds: float,
        keep_seconds: float,
    ) -> None:
        self._get_cluster_id = get_cluster_id
        self._authenticator = authenticator
        self._claim_ms = max(1, round(claim_seconds * 1000))
        self._keep_ms = max(1, round(keep_seconds * 1000))
        self._breaker = CacheBreaker(
            logger,
            open_seconds=open_seconds,
            failed="idempotency keys are not looked at while the cache is away",
            recovered="idempotency keys are looked at again",
        )
        self._client = build_async_client(url, timeout_seconds=timeout_seconds, max_connections=max_connections)

    async def claim(self, name: str, kept: StoredResponse) -> StoredResponse | None:
        key, px = self._find_key(name), self._claim_ms
        if key is None:
            return None
        value = self._protect(kept, key, px)
        return self._read(await self._call(lambda: self._client.set(key, value, nx=True, get=True, px=px)), key)

    async def keep(self, name: str, kept: StoredResponse) -> None:
        key, px = self._find_key(name), self._keep_ms
        if key is not None:
            value = self._protect(kept, key, px)
            await self._call(lambda: self._client.set(key, value, px=px))

    async def release(self, name: str) -> None:
        key = self._find_key(name)
        if key is not None:
            await self._call(lambda: self._client.delete(key))

    async def close(self) -> None:
        await self._client.aclose()

    def _find_key(self, name: str) -> str | None:
        """None while the process does not know its cluster."""
        try:
            return format_cache_key(self._get_cluster_id(), KEY_PREFIX + name)
        except ClusterUnknown:
            return None

    def _protect(self, kept: StoredResponse, key: str, px: int) -> bytes:
        return self._authenticator.protect(_encoder.encode(kept), name=key, good_until=time.time() + px / 1000)

    def _read(self, data: object, key: str) -> StoredResponse | None:
        """What none of our processes has written, or cannot be understood, is as good as not there."""
        value = self._authenticator.read(data, name=key, now=time.time()) if isinstance(data, bytes) else None
        if value is None:
            return None
        try:
            return _decoder.decode(value)
        except msgspec.DecodeError:
            SHARED_CACHE_ERRORS.inc()
            return None

    async def _call(self, call: Callable[[], Awaitable[object]]) -> object:
        """None also when the server does not answer."""
        if not self._breaker.try_pass():
            return None
        try:
            answer = await call()
        except (ValkeyError, OSError) as error:
            self._breaker.report_failure(error)
            return None
        self._breaker.report_success()
        return answer

"""`Idempotency-Key`: the same key with the same body within a window gets the same response; nothing is appended again.

After draft-ietf-httpapi-idempotency-key-header: 409 while the first request is in progress, 422 for another body.

Responses are stored in the cache that all processes share. A key is claimed before the events are appended and holds
the response afterwards. Nothing depends on it: event ids make every retry safe, this only spares the log a second copy
and gives the client the response that it missed. So while the cache server does not answer, a request is processed as
if it had no key.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from configservice.topology.value_macs import ValueAuthenticator
from runtime.http.errors import Rejected, TryLater
from runtime.http.problems import FieldProblem, Problem
from runtime.metrics import SHARED_CACHE_ERRORS
from runtime.valkey import CacheBreaker, ValkeyError, build_async_client

logger = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
KEY_PREFIX = "idempotency:4:"
"""Follows the cluster's id. The number grows with each change of the stored form, so that two releases side by side do
not read each other's values."""

_FIRST, _LAST = 0x21, 0x7E  # visible ASCII
_MAX_CHARACTERS = 255
_DIGEST_BYTES = 16


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """`digest` of the request; `body` is empty while the request is in progress."""

    digest: bytes
    body: bytes = b""
    status: int = 0


class IdempotencyVerdict(Enum):
    FIRST = auto()
    REPEATED = auto()
    IN_PROGRESS = auto()
    REUSED = auto()


class Claim(NamedTuple):
    """One request's use of its key. `response` is set for a repeated request: the response to the first one."""

    name: str
    digest: bytes
    response: StoredResponse | None


class ResponseStore(Protocol):
    """Best effort, bounded in time, and never raises: a store that does not answer behaves as if it were empty."""

    async def claim(self, name: str, stored: StoredResponse) -> StoredResponse | None:
        """Stores `stored` unless `name` has a value; returns that value. None: proceed, claimed or not."""

    async def store(self, name: str, stored: StoredResponse) -> None: ...

    async def release(self, name: str) -> None: ...

    async def close(self) -> None: ...


def classify_stored(stored: StoredResponse | None, *, digest: bytes) -> IdempotencyVerdict:
    """What a request with this digest is, by the value found under its key. Pure."""
    if stored is None:
        return IdempotencyVerdict.FIRST
    if stored.digest != digest:
        return IdempotencyVerdict.REUSED
    return IdempotencyVerdict.REPEATED if stored.body else IdempotencyVerdict.IN_PROGRESS


class Idempotency:
    """Claims keys and stores responses. A body of more than `max_body_bytes` is not stored; a repeat of its request is
    processed like a new one."""

    def __init__(self, store: ResponseStore, *, max_body_bytes: int) -> None:
        self._store = store
        self._max_body_bytes = max_body_bytes

    async def claim(self, *, owner: str, key: bytes, request: bytes) -> Claim:
        """Raises Rejected (422) for a malformed key or another request, TryLater (409) for one in progress.

        `owner`: keys of different owners are different keys. The caller of a claim without a response ends it with
        `store` or `release`.
        """
        _check_key(key)
        name = f"{owner}:{blake2b(key, digest_size=_DIGEST_BYTES).hexdigest()}"
        digest = blake2b(request, digest_size=_DIGEST_BYTES).digest()
        found = await self._store.claim(name, StoredResponse(digest))
        verdict = classify_stored(found, digest=digest)
        if verdict is IdempotencyVerdict.IN_PROGRESS:
            detail = "A request with this Idempotency-Key is in progress; retry to get its response."
            problem = _describe(409, "idempotency_key_in_use", detail, "in_use", "belongs to a request in progress")
            raise TryLater(problem)
        if verdict is IdempotencyVerdict.REUSED:
            detail = "This Idempotency-Key was sent with another body; nothing of this request is stored."
            raise Rejected(_describe(422, "idempotency_key_reused", detail, "reused", "belongs to another body"))
        return Claim(name, digest, found)

    async def store(self, claim: Claim, *, status: int, body: bytes) -> None:
        if len(body) > self._max_body_bytes:
            await self.release(claim)
        else:
            await self._store.store(claim.name, StoredResponse(claim.digest, body, status))

    async def release(self, claim: Claim) -> None:
        """Ends a claim without a response: the next request with its key is processed like a new one."""
        await self._store.release(claim.name)

    async def close(self) -> None:
        await self._store.close()


def _check_key(key: bytes) -> None:
    if 0 < len(key) <= _MAX_CHARACTERS and all(_FIRST <= byte <= _LAST for byte in key):
        return
    message = f"must be 1 to {_MAX_CHARACTERS} visible ASCII characters"
    detail = "The request has values that cannot be used."
    raise Rejected(_describe(422, "invalid_request", detail, "invalid_key", message))


def _describe(status: int, code: str, detail: str, field_code: str, message: str) -> Problem:
    return Problem(status, code, detail, (FieldProblem(HEADER, field_code, message),))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredResponse)


class SharedResponseStore:
    """A ResponseStore in Valkey. Lives on one event loop. `claim_seconds`: lifetime of the claim of a request in
    progress; afterwards another request with its key is processed."""

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
            failed="idempotency keys are ignored while the cache server does not answer",
            recovered="idempotency keys are used again",
        )
        self._client = build_async_client(url, timeout_seconds=timeout_seconds, max_connections=max_connections)

    async def claim(self, name: str, stored: StoredResponse) -> StoredResponse | None:
        key, px = self._find_key(name), self._claim_ms
        if key is None:
            return None
        value = self._protect(stored, key, px)
        return self._read(await self._call(lambda: self._client.set(key, value, nx=True, get=True, px=px)), key)

    async def store(self, name: str, stored: StoredResponse) -> None:
        key, px = self._find_key(name), self._keep_ms
        if key is not None:
            value = self._protect(stored, key, px)
            await self._call(lambda: self._client.set(key, value, px=px))

    async def release(self, name: str) -> None:
        key = self._find_key(name)
        if key is not None:
            await self._call(lambda: self._client.delete(key))

    async def close(self) -> None:
        await self._client.aclose()

    def _find_key(self, name: str) -> str | None:
        """None until the process has learned its cluster's id."""
        try:
            return format_cache_key(self._get_cluster_id(), KEY_PREFIX + name)
        except ClusterUnknown:
            return None

    def _protect(self, stored: StoredResponse, key: str, px: int) -> bytes:
        return self._authenticator.protect(_encoder.encode(stored), name=key, good_until=time.time() + px / 1000)

    def _read(self, data: object, key: str) -> StoredResponse | None:
        """None for a value that was not written by a process of this cluster, or cannot be decoded."""
        value = self._authenticator.read(data, name=key, now=time.time()) if isinstance(data, bytes) else None
        if value is None:
            return None
        try:
            return _decoder.decode(value)
        except msgspec.DecodeError:
            SHARED_CACHE_ERRORS.inc()
            return None

    async def _call(self, call: Callable[[], Awaitable[object]]) -> object:
        """None, too, when the server does not answer."""
        if not self._breaker.try_pass():
            return None
        try:
            answer = await call()
        except (ValkeyError, OSError) as error:
            self._breaker.report_failure(error)
            return None
        self._breaker.report_success()
        return answer

"""Keys for the lane: a cached answer costs no wait; a look-up runs on a thread and is shared by all who need it.

The look-ups have threads, a bound and a deadline of their own, so a slow control database or a flood of
invented keys takes nothing from clients whose keys are known.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from viewcounter.gateway import keys
from viewcounter.gateway.errors import InvalidKey, KeysUnavailable
from viewcounter.gateway.key_cache import AuthenticatedKey

_LOOKUP_THREADS = 2
_SCHEME = b"bearer "


class LaneKeys:
    """Lives on one event loop. Invariant: a token is looked up at most once at a time."""

    def __init__(self, *, max_lookups: int, timeout_seconds: float) -> None:
        self._max_lookups = max_lookups
        self._timeout_seconds = timeout_seconds
        self._executor = ThreadPoolExecutor(max_workers=_LOOKUP_THREADS, thread_name_prefix="api-keys")
        self._lookups: dict[bytes, asyncio.Future[AuthenticatedKey]] = {}

    async def authenticate(self, authorization: bytes | None) -> AuthenticatedKey:
        """`authorization` is the raw header. Raises InvalidKey or KeysUnavailable."""
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise InvalidKey
        token = authorization[len(_SCHEME) :].decode("latin-1").strip()
        digest = keys.digest_token(token)
        key = keys.find_cached(digest)
        return key if key is not None else await self._look_up(token, digest)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, token: str, digest: bytes) -> AuthenticatedKey:
        lookup = self._lookups.get(digest)
        if lookup is None:
            if len(self._lookups) >= self._max_lookups:
                return _get_last_known(digest, "too many keys are being looked up")
            loop = asyncio.get_running_loop()
            lookup = loop.run_in_executor(self._executor, keys.look_up_in_thread, token, digest)
            self._lookups[digest] = lookup
            lookup.add_done_callback(lambda done: self._forget(digest, done))
        try:
            return await asyncio.wait_for(asyncio.shield(lookup), self._timeout_seconds)
        except TimeoutError:
            return _get_last_known(digest, "the control database did not answer in time")

    def _forget(self, digest: bytes, lookup: "asyncio.Future[AuthenticatedKey]") -> None:
        del self._lookups[digest]
        if not lookup.cancelled():
            lookup.exception()  # seen, even if every client that waited for it has gone


def _get_last_known(digest: bytes, reason: str) -> AuthenticatedKey:
    key = keys.find_within_grace(digest, now=time.monotonic())
    if key is None:
        raise KeysUnavailable(reason)
    return key

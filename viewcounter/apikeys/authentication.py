"""Keys of all requests: a cached answer costs no wait; a look-up runs on a thread and is shared by all who need it.

The look-ups have threads, a bound and a deadline of their own, so a slow control database or a flood of
invented keys takes nothing from clients whose keys are known.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from viewcounter.apikeys import keys
from viewcounter.apikeys.key_cache import AuthenticatedKey
from viewcounter.ingest.errors import InvalidKey

_LOOKUP_THREADS = 2
_SCHEME = b"bearer "


class _LookUp(NamedTuple):
    """`deadline_at` is of the event loop's clock; the thread may go on past it."""

    answer: "asyncio.Future[AuthenticatedKey]"
    deadline_at: float


class KeyAuthenticator:
    """Lives on one event loop. Invariant: a token is looked up at most once at a time."""

    def __init__(self, *, max_lookups: int, timeout_seconds: float) -> None:
        self._max_lookups = max_lookups
        self._timeout_seconds = timeout_seconds
        self._executor = ThreadPoolExecutor(max_workers=_LOOKUP_THREADS, thread_name_prefix="api-keys")
        self._lookups: dict[bytes, _LookUp] = {}
        self._waiting_count = 0
        self._lock = threading.Lock()  # guards the count: of look-ups that wait for a thread

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
        """Waits until the deadline of the look-up, whoever began it; not at all if that has passed."""
        loop = asyncio.get_running_loop()
        lookup = self._lookups.get(digest)
        if lookup is None:
            if len(self._lookups) >= self._max_lookups:
                return keys.get_last_known(digest, reason="too many keys are being looked up")
            with self._lock:
                self._waiting_count += 1
            answer = loop.run_in_executor(self._executor, self._look_up_in_thread, token, digest)
            lookup = self._lookups[digest] = _LookUp(answer, loop.time() + self._timeout_seconds)
            answer.add_done_callback(lambda done: self._forget(digest, done))
        try:
            return await asyncio.wait_for(asyncio.shield(lookup.answer), lookup.deadline_at - loop.time())
        except TimeoutError:
            return keys.get_last_known(digest, reason="it did not answer in time")

    def _look_up_in_thread(self, token: str, digest: bytes) -> AuthenticatedKey:
        with self._lock:
            self._waiting_count -= 1
        return keys.look_up_in_thread(token, digest, has_more=lambda: self._waiting_count > 0)

    def _forget(self, digest: bytes, answer: "asyncio.Future[AuthenticatedKey]") -> None:
        del self._lookups[digest]
        if not answer.cancelled():
            answer.exception()  # seen, even if every client that waited for it has gone

"""What this process knows about API keys: bounded in number and in age, so a revoked key dies soon.

Answers stand under the SHA-256 of the whole token: tokens are never kept, and the time of a look-up says
nothing about any of them. Refusals have a room of their own, so that a flood of invented keys cannot push
out the real ones.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from viewcounter.gateway.scopes import Scope


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """A key that was valid when it was looked up. `expires_at` is checked again at every use."""

    prefix: str
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """`key` is None for a refusal. `looked_up_at` is in seconds of the caller's monotonic clock."""

    key: AuthenticatedKey | None
    looked_up_at: float


class KeyCache:
    """Least recently looked-up answers leave first. Safe to share between threads."""

    def __init__(self, *, max_keys: int) -> None:
        self._max_keys = max_keys
        self._valid: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._refused: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._lock = threading.Lock()  # guards the pair: a digest stands in at most one of the two

    def find(self, token_digest: bytes) -> CachedAnswer | None:
        """The last answer, however old: the caller knows how old is too old."""
        return self._valid.get(token_digest) or self._refused.get(token_digest)

    def put(self, token_digest: bytes, key: AuthenticatedKey | None, *, now: float) -> None:
        room, other = (self._refused, self._valid) if key is None else (self._valid, self._refused)
        with self._lock:
            other.pop(token_digest, None)
            room[token_digest] = CachedAnswer(key, now)
            room.move_to_end(token_digest)
            while len(room) > self._max_keys:
                room.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._valid.clear()
            self._refused.clear()

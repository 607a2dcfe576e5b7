"""What this process knows about API keys: bounded in number and in age, so a revoked key dies soon.

Answers stand under the SHA-256 of the whole token: tokens are never kept, and the time of a look-up says
nothing about any of them. Refusals have a room of their own, so that a flood of invented keys cannot push
out the real ones.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from viewcounter.apikeys.scopes import Scope


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """A key that was valid when it was looked up. `expires_at` is checked again at every use.

    Limits are of all processes together; None means no limit. `allowed_origins` is of a public key only.
    """

    prefix: str
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    requests_per_second: int | None = None
    events_per_second: int | None = None
    is_public: bool = False
    allowed_origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """`key` is None for a refusal. Times are seconds of the caller's monotonic clock.

    `confirmed_at`: when the control database last said so. `asked_at`: when it was last asked, whether or not
    it answered.
    """

    key: AuthenticatedKey | None
    confirmed_at: float
    asked_at: float


class KeyCache:
    """Least recently confirmed answers leave first. Safe to share between threads."""

    def __init__(self, *, max_keys: int) -> None:
        self._max_keys = max_keys
        self._valid: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._refused: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._lock = threading.Lock()  # guards the pair: a digest stands in at most one of the two

    def find(self, token_digest: bytes) -> CachedAnswer | None:
        """The last answer, however old: the caller knows how old is too old."""
        return self._valid.get(token_digest) or self._refused.get(token_digest)

    def confirm(self, token_digest: bytes, key: AuthenticatedKey | None, *, now: float) -> None:
        """The control database answered."""
        room, other = (self._refused, self._valid) if key is None else (self._valid, self._refused)
        with self._lock:
            other.pop(token_digest, None)
            room[token_digest] = CachedAnswer(key, confirmed_at=now, asked_at=now)
            room.move_to_end(token_digest)
            while len(room) > self._max_keys:
                room.popitem(last=False)

    def note_asked(self, token_digest: bytes, *, now: float) -> None:
        """It was asked in vain: what is known stays as old as it is, but is not asked again at once."""
        with self._lock:
            for room in (self._valid, self._refused):
                answer = room.get(token_digest)
                if answer is not None:
                    room[token_digest] = replace(answer, asked_at=now)

    def has_key_confirmed_since(self, at: float) -> bool:
        """Whether any key that has not expired was valid then or later."""
        now = datetime.now(UTC)
        with self._lock:
            keys = [answer.key for answer in self._valid.values() if answer.confirmed_at >= at]
        return any(key is not None and (key.expires_at is None or key.expires_at > now) for key in keys)

    def clear(self) -> None:
        with self._lock:
            self._valid.clear()
            self._refused.clear()

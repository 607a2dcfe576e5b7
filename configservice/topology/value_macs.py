"""MACs for values in the cache that decisions depend on: only values of this cluster's processes are accepted. Pure.

HMAC-SHA256 under a key for each kind of value, derived from a secret that all processes share. The MAC covers the
key name of the value, which contains the cluster id, and its expiry, so that a value cannot be moved to another key or
cluster, or replayed later.
"""

import hmac
import struct
from collections.abc import Callable

CLOCK_TOLERANCE_SECONDS = 60.0
"""Tolerated difference between the clocks of two machines: a value is accepted this long after its expiry."""

_MAC_BYTES = 32
_HEAD = struct.Struct(">QI")  # expiry in milliseconds since 1970, length of the name
_DERIVATION = b"viewcounter value in the cache\n"


class ValueAuthenticator:
    """For one kind of value. Calls `on_refused` for each value without a valid MAC, in the reading thread."""

    def __init__(self, secret: str, *, kind: str, on_refused: Callable[[], None] = lambda: None) -> None:
        self._key = hmac.digest(secret.encode(), _DERIVATION + kind.encode(), "sha256")
        self._on_refused = on_refused

    def protect(self, value: bytes, *, name: str, good_until: float) -> bytes:
        """Adds MAC and expiry. `good_until`: seconds since 1970, by this machine's clock."""
        head = _HEAD.pack(max(0, round(good_until * 1000)), len(name.encode()))
        return self._compute(head, name, value) + head[:8] + value

    def read(self, data: bytes, *, name: str, now: float) -> bytes | None:
        """The value, if a process of this cluster wrote it under this name and it has not expired."""
        found = self.read_stamped(data, name=name, now=now)
        return None if found is None else found[0]

    def read_stamped(self, data: bytes, *, name: str, now: float) -> tuple[bytes, int] | None:
        """The value with its expiry in milliseconds since 1970, by the writer's clock."""
        stamp = data[_MAC_BYTES : _MAC_BYTES + 8]
        value = data[_MAC_BYTES + 8 :]
        head = stamp + _HEAD.pack(0, len(name.encode()))[8:]
        if len(stamp) < 8 or not hmac.compare_digest(data[:_MAC_BYTES], self._compute(head, name, value)):
            self._on_refused()
            return None
        (good_until_ms,) = struct.unpack(">Q", stamp)
        if good_until_ms / 1000 + CLOCK_TOLERANCE_SECONDS < now:
            self._on_refused()
            return None
        return value, good_until_ms

    def _compute(self, head: bytes, name: str, value: bytes) -> bytes:
        return hmac.digest(self._key, head + name.encode() + value, "sha256")

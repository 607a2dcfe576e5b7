"""Values in the cache that decide something are believed only from processes of this cluster: each carries a MAC. Pure.

HMAC-SHA256 under a key that is derived from a secret which all processes have, one for each kind of value. The MAC
covers the name under which the value stands, the cluster's id in it, and until when it is good, so that a value cannot
be moved to another name, to another cluster, or be repeated later.
"""

import hmac
import struct
from collections.abc import Callable

CLOCK_TOLERANCE_SECONDS = 60.0
"""By so much may the clocks of two machines differ: a value is taken so long after its end."""

_MAC_BYTES = 32
_HEAD = struct.Struct(">QI")  # end in milliseconds since 1970, length of the name
_DERIVATION = b"viewcounter value in the cache\n"


class ValueAuthenticator:
    """Of one kind of value. `on_refused` is told of each value that has no valid MAC, in the thread that read it."""

    def __init__(self, secret: str, *, kind: str, on_refused: Callable[[], None] = lambda: None) -> None:
        self._key = hmac.digest(secret.encode(), _DERIVATION + kind.encode(), "sha256")
        self._on_refused = on_refused

    def protect(self, value: bytes, *, name: str, good_until: float) -> bytes:
        """`good_until`: seconds since 1970, by this machine's clock."""
        head = _HEAD.pack(max(0, round(good_until * 1000)), len(name.encode()))
        return self._compute(head, name, value) + head[:8] + value

    def read(self, data: bytes, *, name: str, now: float) -> bytes | None:
        """The value, if one of our processes has written it under this name and it is still good."""
        found = self.read_stamped(data, name=name, now=now)
        return None if found is None else found[0]

    def read_stamped(self, data: bytes, *, name: str, now: float) -> tuple[bytes, int] | None:
        """With its end, in milliseconds since 1970, by the clock of its writer."""
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

"""The nonce of a run. It determines every time and id, so the same nonce and options give the same events."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from devtools.replay.errors import BadReplayOption

_SALT_BITS = 32


@dataclass(frozen=True, slots=True)
class Nonce:
    """Written `ms-salt`: the end of the last data day (milliseconds since 1970 UTC), and eight hexadecimal digits.

    The salt distinguishes two runs that start in the same millisecond.
    """

    end_ms: int
    salt: int

    @classmethod
    def create(cls, *, now: datetime) -> Self:
        return cls(end_ms=int(now.timestamp() * 1000), salt=secrets.randbits(_SALT_BITS))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadReplayOption unless `text` was written by `str()` of a nonce."""
        try:
            end_ms, salt = text.split("-")
            nonce = cls(end_ms=int(end_ms), salt=int(salt, 16))
        except ValueError as error:
            raise BadReplayOption(f"not a nonce that a replay has printed: {text!r}") from error
        if str(nonce) != text:
            raise BadReplayOption(f"not a nonce that a replay has printed: {text!r}")
        return nonce

    def __str__(self) -> str:
        return f"{self.end_ms}-{self.salt:08x}"

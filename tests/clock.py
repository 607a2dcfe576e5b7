"""A clock that a test advances instead of waiting."""

import time


class Clock:
    """The monotonic clock plus the time by which it was advanced."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead_seconds

    def advance(self, seconds: float) -> None:
        self._ahead_seconds += seconds

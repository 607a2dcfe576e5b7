"""Waiting in tests: poll a condition, give up loudly."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], *, within_seconds: float = 20.0) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)

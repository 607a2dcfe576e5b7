"""Waits for conditions, always with a deadline."""

import threading
import time
from collections.abc import Callable

from devtools.localcluster.errors import NotReady, StopRequested

POLL_SECONDS = 0.05


class Waiter:
    """All its waits end with StopRequested once `stop` is called."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()

    def resume(self) -> None:
        self._stopped.clear()

    def wait_until(self, find_obstacle: Callable[[], str | None], *, what: str, within_seconds: float) -> None:
        """Poll until `find_obstacle` returns None. Raises NotReady with the last obstacle, or StopRequested."""
        deadline = time.monotonic() + within_seconds
        while True:
            obstacle = find_obstacle()
            if obstacle is None:
                return
            if time.monotonic() >= deadline:
                raise NotReady(f"{what} was not ready within {within_seconds:.0f} s: {obstacle}")
            if self._stopped.wait(POLL_SECONDS):
                raise StopRequested(f"gave up waiting for {what}")

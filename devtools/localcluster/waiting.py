"""Waits for conditions, always with a deadline."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

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

    def run_all(self, steps: Sequence[Callable[[], None]]) -> None:
        """Run all in parallel. The first failure makes the others give up waiting, and is raised.

        StopRequested is raised only when nothing else failed: a step that gave up may end sooner than the one, itself
        a group of steps, in which the failure was.
        """
        failure: BaseException | None = None
        with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
            for future in as_completed([pool.submit(step) for step in steps]):
                error = future.exception()
                if error is None:
                    continue
                if failure is None:
                    failure = error
                    is_ours = not self.is_stopped
                    self.stop()
                elif isinstance(failure, StopRequested):
                    failure = error
        if failure is None:
            return
        if is_ours:
            self.resume()  # a later start may wait again
        raise failure

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

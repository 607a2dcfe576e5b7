"""The background threads of a process: one runner for every task that is repeated until it is stopped.

A thread that dies of an exception leaves its work undone, and nobody notices. So the runner survives whatever a step
raises, logs it, and runs the step again.
"""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

ERROR_SECONDS = 1.0
"""Until a step that raised runs again, for a task without an interval."""


class PeriodicTask:
    """Runs `step` in a daemon thread from `start` to `stop`, never twice at a time.

    `step` returns the seconds until it runs again, or None for `interval_seconds`; None there waits for `wake`. The
    first step runs `first_after_seconds` after the start. `on_end` runs in the thread, after the last step.

    It may be made before a fork; `start` is called in the process that needs the thread.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        interval_seconds: float | None,
        first_after_seconds: float | None = 0.0,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._step = step
        self._interval_seconds = interval_seconds
        self._first_after_seconds = first_after_seconds
        self._on_end = on_end
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._starting = threading.Lock()  # two callers of `start` make one thread
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """For steps that are made of several."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Does nothing when it has been called before, or after `stop`."""
        if self._thread is not None:  # looked at without the lock, as some start it before every request
            return
        with self._starting:
            if self._thread is None and not self._stopping.is_set():
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread

    def wake(self) -> None:
        """The next step runs now, or right after the one under way."""
        self._woken.set()

    def stop(self, *, timeout_seconds: float = 0.0) -> None:
        """No further step begins. Waits up to `timeout_seconds` for the thread to end; may be called again to wait."""
        self._stopping.set()
        self._woken.set()
        if timeout_seconds > 0 and self._thread is not None:
            self._thread.join(timeout_seconds)

    def pause(self, seconds: float) -> None:
        """For the step: a pause that `stop` ends, and `wake` does not."""
        self._stopping.wait(seconds)

    def _run(self) -> None:
        try:
            seconds = self._first_after_seconds
            while not self._wait(seconds):
                seconds = self._run_step()
        finally:
            if self._on_end is not None:
                self._on_end()

    def _wait(self, seconds: float | None) -> bool:
        """Whether the task is to end."""
        self._woken.wait(seconds)
        self._woken.clear()  # before the step: what happens from here on wakes the next one
        return self._stopping.is_set()

    def _run_step(self) -> float | None:
        try:
            seconds = self._step()
        except Exception:
            seconds = self._interval_seconds or ERROR_SECONDS
            logger.exception("the background task %s failed, it runs again in %.1f s", self._name, seconds)
            return seconds
        return self._interval_seconds if seconds is None else seconds

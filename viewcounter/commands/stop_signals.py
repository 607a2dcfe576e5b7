"""Signal handling of commands that run until they are stopped."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

INTERRUPTED_STATUS = 130


class StopSignals:
    """The first signal requests an orderly stop. The second exits at once; the kernel then ends the child processes."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self._on_stop = on_stop

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopped.is_set():
            os._exit(INTERRUPTED_STATUS)
        self.stopped.set()
        self._on_stop()

"""A question to a client that may wait longer than whoever asks can."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class TimedCall(Generic[Answer]):
    """Asked in a thread of its own, never by two at a time: one that hangs is waited for by whoever asks next."""

    def __init__(self, name: str, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._asked: Future[Answer] | None = None

    def start(self) -> None:
        if self._asked is None or self._asked.done():
            self._asked = self._pool.submit(self._ask)

    def finish(self, *, timeout_seconds: float) -> Answer:
        """After `start`. Raises TimeoutError, and whatever the question raises."""
        if self._asked is None:
            raise TimeoutError("it has not been asked")
        return self._asked.result(timeout_seconds)

"""A call to a client that may take longer than the caller can wait."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class TimedCall(Generic[Answer]):
    """Made in a thread of its own, never twice at a time: the next caller waits for one that hangs."""

    def __init__(self, name: str, call: Callable[[], Answer]) -> None:
        self._call = call
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._future: Future[Answer] | None = None

    def submit(self) -> None:
        if self._future is None or self._future.done():
            self._future = self._pool.submit(self._call)

    def result(self, *, timeout_seconds: float) -> Answer:
        """After `submit`. Raises TimeoutError, and what the call raises."""
        if self._future is None:
            raise TimeoutError("the call has not been submitted")
        return self._future.result(timeout_seconds)

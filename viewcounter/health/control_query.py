"""Queries of the control database for callers that must not block on it."""

from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import close_old_connections

from configservice.errors import ControlDatabaseUnavailable
from runtime.timed_call import TimedCall

T = TypeVar("T")


class ControlQuery(Generic[T]):
    """One object for each query in a process, so that at most one thread waits for it."""

    def __init__(self, name: str, query: Callable[[], T]) -> None:
        self._query = query
        self._call = TimedCall(name, self._run)

    def find(self, *, timeout_seconds: float) -> T | None:
        """None if the control database does not answer in time."""
        self.submit()
        return self.find_submitted(timeout_seconds=timeout_seconds)

    def submit(self) -> None:
        """For several queries that share the time of one."""
        self._call.submit()

    def find_submitted(self, *, timeout_seconds: float) -> T | None:
        try:
            return self._call.result(timeout_seconds=timeout_seconds)
        except (ControlDatabaseUnavailable, TimeoutError):
            return None

    def _run(self) -> T:
        try:
            return self._query()
        finally:
            close_old_connections()  # this thread serves no request, so Django does not close its connections

"""Outcomes of single requests, and their numbers by second. Instants are seconds of the monotonic clock."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor

from devtools.drill.outcomes import FINE


@dataclass(frozen=True, slots=True)
class PostAttempt:
    """`due_at`: scheduled time of the request. Latency counts from it, so a delayed sender does not hide a slow
    service."""

    client: str
    due_at: float
    started_at: float
    ended_at: float
    outcome: str

    @property
    def is_fine(self) -> bool:
        return self.outcome in FINE

    @property
    def latency_seconds(self) -> float:
        return self.ended_at - self.due_at


class AttemptLog:
    """Thread-safe. Bounded by the length of the drill: one entry for each request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects _attempts
        self._attempts: list[PostAttempt] = []

    def add(self, attempt: PostAttempt) -> None:
        with self._lock:
            self._attempts.append(attempt)

    def read(self) -> list[PostAttempt]:
        with self._lock:
            return list(self._attempts)


@dataclass(frozen=True, slots=True)
class Second:
    """Requests that ended in this second after the start; latencies of the successful ones, in milliseconds."""

    second: int
    fine: int
    failed: int
    p99_ms: float | None


def count_by_second(attempts: Iterable[PostAttempt], *, started_at: float, seconds: int) -> list[Second]:
    """Every second from 0 to `seconds`, also those without requests."""
    latencies: defaultdict[int, list[float]] = defaultdict(list)
    failed: defaultdict[int, int] = defaultdict(int)
    for attempt in attempts:
        second = floor(attempt.ended_at - started_at)
        if attempt.is_fine:
            latencies[second].append(attempt.latency_seconds * 1000)
        else:
            failed[second] += 1
    return [
        Second(second, len(latencies[second]), failed[second], find_percentile(latencies[second], 0.99))
        for second in range(seconds + 1)
    ]


def find_percentile(values: list[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, ceil(len(values) * share) - 1)]

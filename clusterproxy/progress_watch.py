"""Waits until an instance is fresh enough, with one poll at a time for all readers that wait for it.

Readers that have just written wait for the same drains: a thousand of them poll as often as one does.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clusterproxy.freshness import FreshnessLag, FreshnessRequirement, Progress, find_lag
from shardproxy.errors import DeadlineExceeded, ShardProxyError

QueryProgress = Callable[[Sequence[int]], Mapping[int, Progress]]
"""The instance's progress in some partitions. Bounded in time; may raise ShardProxyError."""


@dataclass(frozen=True, slots=True)
class _Poll:
    """The result of one poll: `progress` of `partitions`, or why there is none."""

    partitions: frozenset[int] = frozenset()
    progress: Mapping[int, Progress] | None = None
    error: ShardProxyError | None = None


class ProgressWatch:
    """Of one instance. Invariant: at most one thread polls, and not before `poll_seconds` after the last poll."""

    def __init__(self, instance: str, *, poll_seconds: float) -> None:
        self._instance = instance
        self._poll_seconds = poll_seconds
        # Guards everything below; never held during a poll.
        self._changed = threading.Condition()
        self._wanted: Counter[int] = Counter()
        self._reader_count = 0
        self._polling = False
        self._next_at = 0.0
        self._poll = _Poll()

    @property
    def reader_count(self) -> int:
        """Reads that wait for the instance now."""
        with self._changed:
            return self._reader_count

    def wait(
        self, requirement: FreshnessRequirement, partitions: Sequence[int], *, query: QueryProgress, until: float
    ) -> FreshnessLag | None:
        """None once `requirement` is met, or the lag at `until` (monotonic clock).

        Raises what `query` raises, and DeadlineExceeded if no poll ended by then.
        """
        with self._changed:
            self._wanted.update(partitions)
            self._reader_count += 1
        try:
            last = None
            while (found := self._await_poll(partitions, query, until=until)) is not None:
                if found.error is not None:
                    raise found.error
                last = find_lag(requirement, found.progress or {}, partitions=partitions, now=datetime.now(UTC))
                if last is None:
                    return None
            if last is None:
                raise DeadlineExceeded("did not report its progress in time", instance=self._instance)
            return last
        finally:
            with self._changed:
                self._wanted -= Counter(partitions)
                self._reader_count -= 1

    def _await_poll(self, partitions: Sequence[int], query: QueryProgress, *, until: float) -> _Poll | None:
        """The next poll that covers all of `partitions`, run by this thread if no other one polls."""
        with self._changed:
            before = self._poll
            while True:
                now = time.monotonic()
                if self._poll is not before and self._poll.partitions.issuperset(partitions):
                    return self._poll
                if now >= until:
                    return None
                if self._polling:
                    self._changed.wait(until - now)
                elif now < self._next_at:
                    self._changed.wait(min(self._next_at, until) - now)
                else:
                    self._polling = True
                    wanted = sorted(self._wanted)
                    break
        found = _Poll()
        try:
            found = _Poll(frozenset(wanted), progress=query(wanted))
        except ShardProxyError as error:
            found = _Poll(frozenset(wanted), error=error)
        finally:
            with self._changed:
                self._polling = False
                self._poll = found
                self._next_at = time.monotonic() + self._poll_seconds
                self._changed.notify_all()
        return found

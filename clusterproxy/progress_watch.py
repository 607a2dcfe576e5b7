"""Waits until an instance has come far enough, with one question at a time for everybody who waits on it.

Readers that have just written wait for the same drains: a thousand of them ask as often as one does.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clusterproxy.freshness import FreshnessLag, FreshnessRequirement, Progress, find_shortfall
from shardproxy.errors import DeadlineExceeded, ShardProxyError

Ask = Callable[[Sequence[int]], Mapping[int, Progress]]
"""How far the instance has come with some partitions. Bounded in time; may raise ShardProxyError."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What one question has found: `progress` of `partitions`, or why there is none."""

    partitions: frozenset[int] = frozenset()
    progress: Mapping[int, Progress] | None = None
    error: ShardProxyError | None = None


class ProgressWatch:
    """Of one instance. Invariant: at most one thread asks, and not before `poll_seconds` have passed since the last."""

    def __init__(self, instance: str, *, poll_seconds: float) -> None:
        self._instance = instance
        self._poll_seconds = poll_seconds
        # Guards everything below; never held while the instance is asked.
        self._changed = threading.Condition()
        self._wanted: Counter[int] = Counter()
        self._reader_count = 0
        self._asking = False
        self._next_at = 0.0
        self._round = _Round()

    @property
    def reader_count(self) -> int:
        """How many reads wait for the instance now."""
        with self._changed:
            return self._reader_count

    def wait(
        self, demand: FreshnessRequirement, partitions: Sequence[int], *, ask: Ask, until: float
    ) -> FreshnessLag | None:
        """None once `demand` is met; what is still missing at `until` (monotonic clock).

        Raises what `ask` raises, and DeadlineExceeded if nothing was learnt until then.
        """
        with self._changed:
            self._wanted.update(partitions)
            self._reader_count += 1
        try:
            last = None
            while (found := self._await_round(partitions, ask, until=until)) is not None:
                if found.error is not None:
                    raise found.error
                last = find_shortfall(demand, found.progress or {}, partitions=partitions, now=datetime.now(UTC))
                if last is None:
                    return None
            if last is None:
                raise DeadlineExceeded("did not say in time how far it is", instance=self._instance)
            return last
        finally:
            with self._changed:
                self._wanted -= Counter(partitions)
                self._reader_count -= 1

    def _await_round(self, partitions: Sequence[int], ask: Ask, *, until: float) -> _Round | None:
        """The next round that has asked for all of `partitions`, asked by this thread if nobody else does."""
        with self._changed:
            before = self._round
            while True:
                now = time.monotonic()
                if self._round is not before and self._round.partitions.issuperset(partitions):
                    return self._round
                if now >= until:
                    return None
                if self._asking:
                    self._changed.wait(until - now)
                elif now < self._next_at:
                    self._changed.wait(min(self._next_at, until) - now)
                else:
                    self._asking = True
                    wanted = sorted(self._wanted)
                    break
        found = _Round()
        try:
            found = _Round(frozenset(wanted), progress=ask(wanted))
        except ShardProxyError as error:
            found = _Round(frozenset(wanted), error=error)
        finally:
            with self._changed:
                self._asking = False
                self._round = found
                self._next_at = time.monotonic() + self._poll_seconds
                self._changed.notify_all()
        return found

"""Who gets one of the few connections to an instance, who waits for one, and who is told at once to come back later.

A connection that becomes free goes to the class that matters most: flushes, then points, ranges, maintenance, reports.
One share is kept for flushes, another bounds reports, so that neither can be starved by the others. When waits pass a
target, reports are shed first, then ranges, then points; flushes only ever wait.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from runtime.errors import Retryable
from shardproxy.query import QueryClass

BY_PRIORITY = (QueryClass.FLUSH, QueryClass.POINT, QueryClass.RANGE, QueryClass.MAINTENANCE, QueryClass.REPORT)
_RANK = {query_class: rank for rank, query_class in enumerate(BY_PRIORITY)}

SHED_AFTER_TARGETS = {QueryClass.REPORT: 1, QueryClass.RANGE: 2, QueryClass.POINT: 4}
"""A class is shed while somebody who matters at least as much has waited so many times the target."""


class Shed(Exception, Retryable):
    """No connection for this caller. The text says why."""


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """Bounds of one instance in one process. `flush_reserved` of the `capacity` connections are for flushes alone."""

    capacity: int
    flush_reserved: int
    report_capacity: int
    max_waiting: int
    wait_seconds: float
    target_wait_seconds: float

    @property
    def read_capacity(self) -> int:
        """What is left for everything that is no flush, at least one."""
        return max(1, self.capacity - self.flush_reserved)


def has_room(policy: AdmissionPolicy, in_use: Mapping[QueryClass, int], query_class: QueryClass) -> bool:
    """Whether one more of `query_class` may have a connection now."""
    total = sum(in_use.values())
    if total >= policy.capacity:
        return False
    if query_class is QueryClass.FLUSH:
        return True
    if total - in_use[QueryClass.FLUSH] >= policy.read_capacity:
        return False
    return query_class is not QueryClass.REPORT or in_use[query_class] < policy.report_capacity


def is_overloaded(policy: AdmissionPolicy, longest_waits: Mapping[QueryClass, float], query_class: QueryClass) -> bool:
    """Whether nobody of `query_class` may join its queue. `longest_waits`: seconds that the first of each has waited.

    Reports do not count: they wait for their own share, which says nothing about the instance.
    """
    return _has_waited_too_long(policy, longest_waits, query_class, through_rank=_RANK[query_class])


def must_give_way(policy: AdmissionPolicy, longest_waits: Mapping[QueryClass, float], query_class: QueryClass) -> bool:
    """Whether those of `query_class` who wait already are sent away: somebody who matters more waits too long."""
    return _has_waited_too_long(policy, longest_waits, query_class, through_rank=_RANK[query_class] - 1)


def get_patience_seconds(policy: AdmissionPolicy, query_class: QueryClass) -> float:
    """How long one of `query_class` waits at most."""
    if query_class is QueryClass.REPORT or query_class not in SHED_AFTER_TARGETS:
        return policy.wait_seconds
    return min(policy.wait_seconds, SHED_AFTER_TARGETS[query_class] * policy.target_wait_seconds)


def _has_waited_too_long(
    policy: AdmissionPolicy, longest_waits: Mapping[QueryClass, float], query_class: QueryClass, *, through_rank: int
) -> bool:
    targets = SHED_AFTER_TARGETS.get(query_class)
    if targets is None:
        return False
    return any(
        seconds > targets * policy.target_wait_seconds
        for waiting, seconds in longest_waits.items()
        if waiting is not QueryClass.REPORT and _RANK[waiting] <= through_rank
    )


class _Outcome(Enum):
    WAITING = auto()
    GRANTED = auto()
    SHED = auto()


class _Waiter:
    __slots__ = ("outcome", "query_class", "settled", "since")

    def __init__(self, query_class: QueryClass, *, since: float) -> None:
        self.query_class = query_class
        self.since = since
        self.outcome = _Outcome.WAITING
        self.settled = threading.Event()


class Admission:
    """Thread-safe. Invariant: as long as somebody waits, there is no room for that class."""

    def __init__(self, policy: AdmissionPolicy, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        # Guards what follows; never held while anybody waits.
        self._lock = threading.Lock()
        self._in_use = dict.fromkeys(QueryClass, 0)
        self.waiting = 0
        self._queues: dict[QueryClass, deque[_Waiter]] = {query_class: deque() for query_class in BY_PRIORITY}

    @property
    def in_use(self) -> int:
        return sum(self._in_use.values())

    @property
    def in_flight(self) -> int:
        """Those who have a connection and those who wait for one."""
        return self.in_use + self.waiting

    def enter(self, query_class: QueryClass, *, deadline_at: float) -> None:
        """Returns when the caller may take a connection; `leave` must follow. Raises Shed."""
        with self._lock:
            if has_room(self._policy, self._in_use, query_class):
                self._in_use[query_class] += 1
                return
            now = self._clock()
            waiter = self._queue(query_class, now=now)
        waiter.settled.wait(max(0.0, min(get_patience_seconds(self._policy, query_class), deadline_at - now)))
        with self._lock:
            if waiter.outcome is _Outcome.GRANTED:
                return
            if waiter.outcome is _Outcome.WAITING:
                self._queues[query_class].remove(waiter)
                self.waiting -= 1
                raise Shed("no connection was given back in time")
        raise Shed("shed: queries of higher priority wait for a connection")

    def leave(self, query_class: QueryClass) -> None:
        """The connection has been given back: whoever matters most has it next."""
        with self._lock:
            self._in_use[query_class] -= 1
            if not self.waiting:
                return
            for waiting, queue in self._queues.items():
                while queue and has_room(self._policy, self._in_use, waiting):
                    self._in_use[waiting] += 1
                    self._settle(queue.popleft(), _Outcome.GRANTED)
            self._shed_waiting(now=self._clock())

    def _queue(self, query_class: QueryClass, *, now: float) -> _Waiter:
        self._shed_waiting(now=now)
        if is_overloaded(self._policy, self._measure_waits(now), query_class):
            raise Shed("too many wait for a connection")
        if self.waiting >= self._policy.max_waiting:
            self._make_place(query_class)
        waiter = _Waiter(query_class, since=now)
        self._queues[query_class].append(waiter)
        self.waiting += 1
        return waiter

    def _shed_waiting(self, *, now: float) -> None:
        waits = self._measure_waits(now)
        if not waits:
            return
        for query_class in SHED_AFTER_TARGETS:
            queue = self._queues[query_class]
            if queue and must_give_way(self._policy, waits, query_class):
                while queue:
                    self._settle(queue.popleft(), _Outcome.SHED)

    def _settle(self, waiter: _Waiter, outcome: _Outcome) -> None:
        """For one that has just been taken from its queue."""
        self.waiting -= 1
        waiter.outcome = outcome
        waiter.settled.set()

    def _measure_waits(self, now: float) -> dict[QueryClass, float]:
        return {query_class: now - queue[0].since for query_class, queue in self._queues.items() if queue}

    def _make_place(self, query_class: QueryClass) -> None:
        """The newest waiter of the least class gives way to one that matters more. Raises Shed when there is none."""
        for lesser in reversed(BY_PRIORITY[_RANK[query_class] + 1 :]):
            if self._queues[lesser]:
                self._settle(self._queues[lesser].pop(), _Outcome.SHED)
                return
        raise Shed("the queue for a connection is full")

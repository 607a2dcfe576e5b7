"""Admission control for the connections of one instance: grants a connection, queues the caller, or sheds it at once.

A freed connection goes to the waiting class of highest priority: flush, point, range, maintenance, report. Some
connections are reserved for flushes and reports have a limit of their own, so no class can starve these. When queueing
exceeds a target, reports are shed first, then ranges, then points; flushes are never shed for load.
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
"""A class is shed while a query of the same or a higher priority has waited this multiple of the target."""


class Shed(Exception, Retryable):
    """The caller gets no connection. The text says why."""


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """Limits for one instance in one process. Only flushes may use `flush_reserved` of the `capacity` connections."""

    capacity: int
    flush_reserved: int
    report_capacity: int
    max_waiting: int
    wait_seconds: float
    target_wait_seconds: float

    @property
    def read_capacity(self) -> int:
        """Connections that queries other than flushes may use, at least one."""
        return max(1, self.capacity - self.flush_reserved)


def has_room(policy: AdmissionPolicy, in_use: Mapping[QueryClass, int], query_class: QueryClass) -> bool:
    """Whether one more query of this class may have a connection now."""
    total = sum(in_use.values())
    if total >= policy.capacity:
        return False
    if query_class is QueryClass.FLUSH:
        return True
    if total - in_use[QueryClass.FLUSH] >= policy.read_capacity:
        return False
    return query_class is not QueryClass.REPORT or in_use[query_class] < policy.report_capacity


def is_overloaded(policy: AdmissionPolicy, longest_waits: Mapping[QueryClass, float], query_class: QueryClass) -> bool:
    """Whether queries of this class are refused a place in the queue.

    `longest_waits`: by class, how many seconds the first query in its queue has waited. Waiting reports do not count:
    they wait for their own limit, which says nothing about the instance.
    """
    return _has_waited_too_long(policy, longest_waits, query_class, through_rank=_RANK[query_class])


def must_shed_waiting(
    policy: AdmissionPolicy, longest_waits: Mapping[QueryClass, float], query_class: QueryClass
) -> bool:
    """Whether waiting queries of this class are shed, because queries of a higher priority wait too long."""
    return _has_waited_too_long(policy, longest_waits, query_class, through_rank=_RANK[query_class] - 1)


def get_max_wait_seconds(policy: AdmissionPolicy, query_class: QueryClass) -> float:
    """The longest that a query of this class waits for a connection."""
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
    """Thread-safe. Invariant: while a query of a class waits, there is no room for that class."""

    def __init__(self, policy: AdmissionPolicy, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        # Guards the counters and queues below; never held while a caller waits.
        self._lock = threading.Lock()
        self._in_use = dict.fromkeys(QueryClass, 0)
        self.waiting = 0
        self._queues: dict[QueryClass, deque[_Waiter]] = {query_class: deque() for query_class in BY_PRIORITY}

    @property
    def in_use(self) -> int:
        return sum(self._in_use.values())

    @property
    def in_flight(self) -> int:
        """Callers that have a connection or wait for one."""
        return self.in_use + self.waiting

    def enter(self, query_class: QueryClass, *, deadline_at: float) -> None:
        """Returns when the caller may take a connection; `leave` must follow. Raises Shed."""
        with self._lock:
            if has_room(self._policy, self._in_use, query_class):
                self._in_use[query_class] += 1
                return
            now = self._clock()
            waiter = self._queue(query_class, now=now)
        waiter.settled.wait(max(0.0, min(get_max_wait_seconds(self._policy, query_class), deadline_at - now)))
        with self._lock:
            if waiter.outcome is _Outcome.GRANTED:
                return
            if waiter.outcome is _Outcome.WAITING:
                self._queues[query_class].remove(waiter)
                self.waiting -= 1
                raise Shed("no connection became free in time")
        raise Shed("shed: queries of higher priority wait for a connection")

    def leave(self, query_class: QueryClass) -> None:
        """Frees a connection, which goes to the waiting query of highest priority."""
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
            raise Shed("too many queries wait for a connection")
        if self.waiting >= self._policy.max_waiting:
            self._evict_lower_priority(query_class)
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
            if queue and must_shed_waiting(self._policy, waits, query_class):
                while queue:
                    self._settle(queue.popleft(), _Outcome.SHED)

    def _settle(self, waiter: _Waiter, outcome: _Outcome) -> None:
        """The caller has just removed the waiter from its queue."""
        self.waiting -= 1
        waiter.outcome = outcome
        waiter.settled.set()

    def _measure_waits(self, now: float) -> dict[QueryClass, float]:
        return {query_class: now - queue[0].since for query_class, queue in self._queues.items() if queue}

    def _evict_lower_priority(self, query_class: QueryClass) -> None:
        """Sheds the newest waiter of the lowest priority below `query_class`. Raises Shed when there is none."""
        for lesser in reversed(BY_PRIORITY[_RANK[query_class] + 1 :]):
            if self._queues[lesser]:
                self._settle(self._queues[lesser].pop(), _Outcome.SHED)
                return
        raise Shed("the queue for a connection is full")

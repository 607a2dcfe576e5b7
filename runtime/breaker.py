"""Circuit breaker: after a failure of a server no call is made to it until one trial call has succeeded.

closed: every call passes. open: none does until `until`. half-open: one trial call is under way, and all others are
refused until it reports or `until` passes, so that a trial whose caller died does not keep the breaker open for ever.
Decisions are pure; `Breaker` only adds the lock.
"""

import threading
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerEvent(StrEnum):
    ATTEMPT = "attempt"
    """A caller is about to call."""
    SUCCESS = "success"
    """The server answered, even if with an error."""
    FAILURE = "failure"
    """The server refused, hung up, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """`until` is on the monotonic clock, seconds; it has no meaning while closed."""

    state: BreakerState = BreakerState.CLOSED
    until: float = 0.0


def may_pass(status: BreakerStatus, *, now: float) -> bool:
    """Whether an attempt made now is let through."""
    return status.state is BreakerState.CLOSED or now >= status.until


def transition(status: BreakerStatus, event: BreakerEvent, *, now: float, open_seconds: float) -> BreakerStatus:
    """The status after `event`. A refused attempt changes nothing."""
    match event:
        case BreakerEvent.SUCCESS:
            return BreakerStatus()
        case BreakerEvent.FAILURE:
            return BreakerStatus(BreakerState.OPEN, now + open_seconds)
        case BreakerEvent.ATTEMPT:
            if status.state is BreakerState.CLOSED or not may_pass(status, now=now):
                return status
            return BreakerStatus(BreakerState.HALF_OPEN, now + open_seconds)


class Breaker:
    """Shared by all callers of one server. The lock covers the read-decide-write of `_status` only."""

    def __init__(self, *, open_seconds: float) -> None:
        self._open_seconds = open_seconds
        self._status = BreakerStatus()
        self._lock = threading.Lock()

    @property
    def state(self) -> BreakerState:
        return self._status.state

    def may_pass(self, *, now: float) -> bool:
        """For planning: does not take the trial."""
        return may_pass(self._status, now=now)

    def try_pass(self, *, now: float) -> bool:
        """Whether to call now; in the half-open state exactly one of many concurrent callers gets True."""
        with self._lock:
            allowed = may_pass(self._status, now=now)
            self._status = self._next(BreakerEvent.ATTEMPT, now)
            return allowed

    def report(self, event: BreakerEvent, *, now: float) -> BreakerState:
        """Records the outcome of a call; returns the state before it, so that the caller can log a change."""
        with self._lock:
            before = self._status.state
            self._status = self._next(event, now)
            return before

    def _next(self, event: BreakerEvent, now: float) -> BreakerStatus:
        return transition(self._status, event, now=now, open_seconds=self._open_seconds)

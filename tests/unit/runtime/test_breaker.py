"""Every state and event of the breaker, as a table."""

import threading

import pytest

from runtime.breaker import Breaker, BreakerEvent, BreakerState, BreakerStatus, may_pass, transition

OPEN_SECONDS = 1.0
CLOSED = BreakerStatus()
OPEN = BreakerStatus(BreakerState.OPEN, 10.0)
HALF_OPEN = BreakerStatus(BreakerState.HALF_OPEN, 10.0)


@pytest.mark.parametrize(
    ("before", "event", "now", "after"),
    [
        (CLOSED, BreakerEvent.ATTEMPT, 5.0, CLOSED),
        (CLOSED, BreakerEvent.SUCCESS, 5.0, CLOSED),
        (CLOSED, BreakerEvent.FAILURE, 5.0, BreakerStatus(BreakerState.OPEN, 6.0)),
        (OPEN, BreakerEvent.ATTEMPT, 9.9, OPEN),
        (OPEN, BreakerEvent.ATTEMPT, 10.0, BreakerStatus(BreakerState.HALF_OPEN, 11.0)),
        (OPEN, BreakerEvent.SUCCESS, 9.0, CLOSED),
        (OPEN, BreakerEvent.FAILURE, 9.5, BreakerStatus(BreakerState.OPEN, 10.5)),
        (HALF_OPEN, BreakerEvent.ATTEMPT, 9.9, HALF_OPEN),
        (HALF_OPEN, BreakerEvent.ATTEMPT, 10.0, BreakerStatus(BreakerState.HALF_OPEN, 11.0)),
        (HALF_OPEN, BreakerEvent.SUCCESS, 9.9, CLOSED),
        (HALF_OPEN, BreakerEvent.FAILURE, 9.9, BreakerStatus(BreakerState.OPEN, 10.9)),
    ],
)
def test_transition(before, event, now, after):
    assert transition(before, event, now=now, open_seconds=OPEN_SECONDS) == after


@pytest.mark.parametrize(
    ("status", "now", "allowed"),
    [(CLOSED, 0.0, True), (OPEN, 9.9, False), (OPEN, 10.0, True), (HALF_OPEN, 9.9, False), (HALF_OPEN, 10.0, True)],
)
def test_who_may_pass(status, now, allowed):
    assert may_pass(status, now=now) is allowed


def test_exactly_one_of_many_callers_gets_the_trial():
    breaker = Breaker(open_seconds=OPEN_SECONDS)
    breaker.report(BreakerEvent.FAILURE, now=0.0)
    passed: list[bool] = []
    barrier = threading.Barrier(8)

    def call() -> None:
        barrier.wait(10)
        passed.append(breaker.try_pass(now=1.5))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(passed) == [False] * 7 + [True]


def test_looking_takes_no_trial():
    breaker = Breaker(open_seconds=OPEN_SECONDS)
    breaker.report(BreakerEvent.FAILURE, now=0.0)
    assert breaker.may_pass(now=1.5)
    assert breaker.try_pass(now=1.5)
    assert not breaker.try_pass(now=1.5)

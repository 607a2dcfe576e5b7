"""When a query is retried, and when that is futile."""

import random

import httpx2
import pytest
from viewcounter_client.attempts import QueryAttempts
from viewcounter_client.breaker import Breaker
from viewcounter_client.delivery import Wait
from viewcounter_client.dispatch import plan_wait
from viewcounter_client.errors import ServiceUnavailable
from viewcounter_client.options import Options

OPTIONS = Options(query_attempts=3, backoff_max_seconds=0.5)
UNREACHABLE = httpx2.ConnectError("refused")


def build_breaker(*, failures=5):
    return Breaker(failures=failures, open_seconds=9.0, first_seconds=0.1, max_seconds=1.0, rng=random.Random(1))


def answer(status):
    return httpx2.Response(status)


@pytest.mark.parametrize("status", [200, 404, 422])
def test_an_answer_is_taken_whether_or_not_it_pleases(status):
    attempts = QueryAttempts(build_breaker(), OPTIONS)
    attempts.check(now=0.0)
    assert attempts.classify(answer(status), now=0.0).status_code == status


@pytest.mark.parametrize(("outcome", "reason"), [(UNREACHABLE, "ConnectError: refused"), (answer(503), "status 503")])
def test_it_is_asked_so_many_times_with_bounded_pauses_and_then_says_why(outcome, reason):
    attempts = QueryAttempts(build_breaker(), OPTIONS)
    for _ in range(2):
        attempts.check(now=0.0)
        assert attempts.classify(outcome, now=0.0) is None
        assert 0.0 <= attempts.pause_seconds <= 0.5
    attempts.check(now=0.0)
    with pytest.raises(ServiceUnavailable, match=reason):
        attempts.classify(outcome, now=0.0)


def test_an_open_breaker_spares_the_request():
    breaker = build_breaker(failures=1)
    first = QueryAttempts(breaker, OPTIONS)
    first.check(now=0.0)
    assert first.classify(UNREACHABLE, now=0.0) is None
    assert first.pause_seconds == 0.5
    with pytest.raises(ServiceUnavailable, match="ConnectError: refused"):
        first.check(now=0.5)
    with pytest.raises(ServiceUnavailable, match="the circuit breaker is open"):
        QueryAttempts(breaker, OPTIONS).check(now=0.5)
    QueryAttempts(breaker, OPTIONS).check(now=9.0)


@pytest.mark.parametrize(
    ("seconds", "give_up_at", "wait"),
    [(None, float("inf"), None), (2.0, float("inf"), 2.0), (None, 13.0, 3.0), (2.0, 13.0, 2.0), (4.0, 13.0, 3.0)],
)
def test_a_wait_ends_with_the_next_thing_to_do_or_with_the_end(seconds, give_up_at, wait):
    assert plan_wait(Wait(seconds), give_up_at=give_up_at, now=10.0) == wait

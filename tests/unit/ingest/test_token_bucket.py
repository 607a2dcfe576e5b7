"""Tokens come at a rate, are capped by the burst, and may be owed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.apikeys.rate_limit import make_bucket


def test_a_burst_passes_and_then_the_rate():
    bucket = make_bucket(10, burst_seconds=2, now=0.0)
    assert [bucket.take(1, now=0.0) for _ in range(21)] == [True] * 20 + [False]
    assert bucket.wait_seconds == 1
    assert bucket.take(1, now=0.1)
    assert not bucket.take(1, now=0.1)


def test_a_batch_larger_than_what_is_left_passes_and_is_owed():
    bucket = make_bucket(100, burst_seconds=1, now=0.0)
    assert bucket.take(1000, now=0.0)
    assert (bucket.remaining, bucket.wait_seconds, bucket.reset_seconds) == (0, 10, 10)
    assert not bucket.take(1, now=8.9)
    assert bucket.take(1, now=9.1)


def test_an_idle_bucket_fills_up_to_the_burst_and_no_further():
    bucket = make_bucket(10, burst_seconds=2, now=0.0)
    bucket.take(5, now=0.0)
    bucket.refill(3600.0)
    assert bucket.tokens == 20


def test_a_rate_below_one_has_a_burst_of_one_at_least():
    bucket = make_bucket(0.1, burst_seconds=1, now=0.0)
    assert bucket.take(1, now=0.0)
    assert bucket.wait_seconds == 10


@given(
    rate=st.integers(1, 1000),
    takes=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60),
)
def test_what_passes_is_never_more_than_burst_and_rate_and_one_batch(rate, takes):
    bucket, now, passed = make_bucket(rate, burst_seconds=2, now=0.0), 0.0, 0
    for pause, cost in takes:
        now += pause
        if bucket.take(cost, now=now):
            passed += cost
    assert passed <= rate * 2 + rate * now + 50


def test_a_clock_that_stands_still_gives_nothing():
    bucket = make_bucket(10, burst_seconds=1, now=5.0)
    bucket.take(10, now=5.0)
    bucket.refill(4.0)
    assert bucket.tokens == pytest.approx(0)

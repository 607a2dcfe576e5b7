"""The mean of response times, in which old answers fade."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.instance import UNKNOWN, estimate_seconds, observe


def test_the_first_answer_is_the_mean():
    known = observe(UNKNOWN, 0.3, now=100.0, fade_seconds=10.0)
    assert estimate_seconds(known, now=100.0, fade_seconds=10.0) == 0.3


def test_nothing_known_is_zero():
    assert estimate_seconds(UNKNOWN, now=100.0, fade_seconds=10.0) == 0.0


def test_an_answer_has_lost_most_of_its_weight_after_the_fade():
    known = observe(UNKNOWN, 1.0, now=100.0, fade_seconds=10.0)
    known = observe(known, 0.0, now=110.0, fade_seconds=10.0)
    assert known.seconds == pytest.approx(1 / math.e)


def test_a_burst_weighs_as_much_as_its_duration():
    known = observe(UNKNOWN, 0.001, now=100.0, fade_seconds=10.0)
    for number in range(1000):
        known = observe(known, 1.0, now=100.0 + number * 0.000_001, fade_seconds=10.0)
    assert known.seconds == pytest.approx(0.001, abs=0.001)


def test_a_slow_instance_that_nobody_asks_looks_faster_with_time():
    known = observe(UNKNOWN, 1.0, now=100.0, fade_seconds=10.0)
    assert estimate_seconds(known, now=170.0, fade_seconds=10.0) < 0.001


@given(st.lists(st.tuples(st.floats(0.0001, 10.0), st.floats(0.0, 100.0)), min_size=1))
def test_the_mean_lies_between_the_fastest_and_the_slowest(answers):
    known, now = UNKNOWN, 1.0
    for seconds, pause in answers:
        now += pause
        known = observe(known, seconds, now=now, fade_seconds=10.0)
    fastest, slowest = min(s for s, _ in answers), max(s for s, _ in answers)
    assert fastest * 0.999 <= known.seconds <= slowest * 1.001

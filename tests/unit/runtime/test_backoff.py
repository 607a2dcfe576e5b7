from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (6, 5.0), (10**6, 5.0)]
)
def test_the_pause_doubles_with_each_failure_up_to_its_bound(failures, seconds):
    assert Backoff(0.5, 5.0, jitter=0.0).compute_seconds(failures) == seconds


@pytest.mark.parametrize(("jitter", "shortest"), [(0.0, 4.0), (0.5, 2.0), (1.0, 0.0)])
def test_jitter_says_which_part_of_the_pause_is_random(jitter, shortest):
    backoff = Backoff(4.0, 4.0, jitter=jitter)
    assert backoff.compute_seconds(1, rng=lambda: 0.0) == 4.0
    assert backoff.compute_seconds(1, rng=lambda: 1.0) == shortest


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_full_jitter_lies_anywhere_below_the_bound(failures, seed):
    bound = min(5.0, 0.5 * 2 ** min(failures - 1, 10))
    assert 0.0 <= Backoff(0.5, 5.0).compute_seconds(failures, rng=Random(seed).random) <= bound


def test_pauses_of_processes_that_failed_together_differ():
    pauses = {Backoff(0.5, 5.0).compute_seconds(3, rng=Random(seed).random) for seed in range(100)}
    assert len(pauses) == 100
    assert min(pauses) < 0.2
    assert max(pauses) > 1.8


def test_a_bound_below_the_first_pause_holds():
    assert Backoff(10.0, 2.0, jitter=0.0).compute_seconds(1) == 2.0

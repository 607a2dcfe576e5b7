from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.processing.shard_throttle import (
    Health,
    StrainPolicy,
    classify_drain,
    get_pause_seconds,
    max_concurrent_drains,
)

POLICY = StrainPolicy(pause_first_seconds=0.5, pause_max_seconds=5.0, slow_flush_seconds=3.0, forget_seconds=60)


@pytest.mark.parametrize(
    ("seconds", "flush_count", "health"),
    [(3.0, 1, Health.WELL), (3.1, 1, Health.SLOW), (6.1, 2, Health.SLOW), (5.0, 2, Health.WELL), (9.0, 0, Health.WELL)],
)
def test_a_shard_is_slow_when_its_flushes_take_too_long_on_average(seconds, flush_count, health):
    assert classify_drain(seconds=seconds, flush_count=flush_count, policy=POLICY) is health


@given(failure_count=st.integers(1, 10_000), seed=st.integers())
def test_a_pause_lies_anywhere_below_a_bound_that_doubles_up_to_the_largest(failure_count, seed):
    bound = min(5.0, 0.5 * 2 ** min(failure_count - 1, 10))
    assert 0.0 <= get_pause_seconds(failure_count, policy=POLICY, rng=Random(seed)) <= bound


def test_pauses_of_workers_that_failed_together_differ():
    pauses = {get_pause_seconds(3, policy=POLICY, rng=Random(seed)) for seed in range(100)}
    assert len(pauses) == 100
    assert min(pauses) < 0.2
    assert max(pauses) > 1.8


@pytest.mark.parametrize(
    ("is_failing", "is_slow", "slot_count", "limit"),
    [
        (False, False, 8, None),
        (False, True, 8, 7),
        (False, True, 1, 1),
        (False, True, 0, 1),
        (True, False, 8, 1),
        (True, True, 8, 1),
    ],
)
def test_a_failing_shard_has_one_drain_and_a_slow_one_leaves_a_process(is_failing, is_slow, slot_count, limit):
    assert max_concurrent_drains(is_failing=is_failing, is_slow=is_slow, slot_count=slot_count) == limit

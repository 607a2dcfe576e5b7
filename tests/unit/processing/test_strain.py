import pytest

from viewcounter.processing.settings import ThrottlePolicy
from viewcounter.processing.shard_throttle import Health, classify_drain, max_concurrent_drains

POLICY = ThrottlePolicy(pause_first_seconds=0.5, pause_max_seconds=5.0, slow_flush_seconds=3.0, forget_seconds=60)


@pytest.mark.parametrize(
    ("seconds", "flush_count", "health"),
    [(3.0, 1, Health.WELL), (3.1, 1, Health.SLOW), (6.1, 2, Health.SLOW), (5.0, 2, Health.WELL), (9.0, 0, Health.WELL)],
)
def test_a_shard_is_slow_when_its_flushes_take_too_long_on_average(seconds, flush_count, health):
    assert classify_drain(seconds=seconds, flush_count=flush_count, policy=POLICY) is health


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

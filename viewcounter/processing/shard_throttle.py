"""How much of the fleet a shard may take that fails or is slow. Pure.

Workers are shared by all shards. One that times out on every flush would keep each of them waiting in turn, and the
partitions of healthy shards behind it. So the drains of a failing shard pause, longer each time and with jitter, and
come one at a time until one succeeds; those of a slow one leave a worker process to the others.
"""

from enum import StrEnum

from viewcounter.processing.settings import ThrottlePolicy


class Health(StrEnum):
    """How a drain found its shard."""

    WELL = "well"
    SLOW = "slow"
    FAILING = "failing"


def classify_drain(*, seconds: float, flush_count: int, policy: ThrottlePolicy) -> Health:
    """Of a drain that succeeded. One that flushed nothing says nothing bad about its shard."""
    is_slow = flush_count > 0 and seconds / flush_count > policy.slow_flush_seconds
    return Health.SLOW if is_slow else Health.WELL


def max_concurrent_drains(*, is_failing: bool, is_slow: bool, slot_count: int) -> int | None:
    """How many drains of the shard may run at once, of `slot_count` in the whole fleet; None: any number."""
    if is_failing:
        return 1
    return max(1, slot_count - 1) if is_slow else None

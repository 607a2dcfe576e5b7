"""How much of the fleet a shard may take that fails or is slow. Pure.

Workers are shared by all shards. One that times out on every flush would keep each of them waiting in turn, and the
partitions of healthy shards behind it. So the drains of a failing shard pause, longer each time and with jitter, and
come one at a time until one succeeds; those of a slow one leave a worker process to the others.
"""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from viewcounter.config import Config


class Health(StrEnum):
    """How a drain found its shard."""

    WELL = "well"
    SLOW = "slow"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class StrainPolicy:
    """A failing shard pauses for up to `pause_first_seconds`, twice as long each time, `pause_max_seconds` at most.

    A shard is slow while flushes take more than `slow_flush_seconds`. Either is forgotten after `forget_seconds`.
    """

    pause_first_seconds: float
    pause_max_seconds: float
    slow_flush_seconds: float
    forget_seconds: int

    @classmethod
    def from_config(cls, config: Config) -> "StrainPolicy":
        return cls(
            pause_first_seconds=config.drain_pause_first_seconds,
            pause_max_seconds=config.drain_pause_max_seconds,
            slow_flush_seconds=config.drain_slow_flush_seconds,
            forget_seconds=config.drain_forget_seconds,
        )


def classify_drain(*, seconds: float, flush_count: int, policy: StrainPolicy) -> Health:
    """Of a drain that succeeded. One that flushed nothing says nothing bad about its shard."""
    is_slow = flush_count > 0 and seconds / flush_count > policy.slow_flush_seconds
    return Health.SLOW if is_slow else Health.WELL


def get_pause_seconds(failure_count: int, *, policy: StrainPolicy, rng: Random) -> float:
    """Exponential with full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/"""
    longest = min(policy.pause_max_seconds, policy.pause_first_seconds * 2.0 ** min(failure_count - 1, 30))
    return rng.uniform(0.0, longest)


def max_concurrent_drains(*, is_failing: bool, is_slow: bool, slot_count: int) -> int | None:
    """How many drains of the shard may run at once, of `slot_count` in the whole fleet; None: any number."""
    if is_failing:
        return 1
    return max(1, slot_count - 1) if is_slow else None

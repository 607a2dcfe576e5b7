"""How much of the fleet a shard may take that fails or is slow. Pure.

Workers are shared by all shards. One that times out on every flush would keep each of them waiting in turn, and the
partitions of healthy shards behind it. So the drains of a failing shard pause, longer each time and with jitter, and
come one at a time until one succeeds; those of a slow one leave a worker process to the others.
"""

from dataclasses import dataclass
from enum import StrEnum

from runtime.backoff import Backoff
from viewcounter.config import Config


class Health(StrEnum):
    """How a drain found its shard."""

    WELL = "well"
    SLOW = "slow"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class StrainPolicy:
    """`pause`: of a failing shard, by its failures in a row.

    A shard is slow while flushes take more than `slow_flush_seconds`. Either is forgotten after `forget_seconds`.
    """

    pause: Backoff
    slow_flush_seconds: float
    forget_seconds: int

    @classmethod
    def from_config(cls, config: Config) -> "StrainPolicy":
        return cls(
            pause=Backoff(config.drain_pause_first_seconds, config.drain_pause_max_seconds),
            slow_flush_seconds=config.drain_slow_flush_seconds,
            forget_seconds=config.drain_forget_seconds,
        )


def classify_drain(*, seconds: float, flush_count: int, policy: StrainPolicy) -> Health:
    """Of a drain that succeeded. One that flushed nothing says nothing bad about its shard."""
    is_slow = flush_count > 0 and seconds / flush_count > policy.slow_flush_seconds
    return Health.SLOW if is_slow else Health.WELL


def max_concurrent_drains(*, is_failing: bool, is_slow: bool, slot_count: int) -> int | None:
    """How many drains of the shard may run at once, of `slot_count` in the whole fleet; None: any number."""
    if is_failing:
        return 1
    return max(1, slot_count - 1) if is_slow else None

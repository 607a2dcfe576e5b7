"""What an answer must have seen. Pure.

Every read statement answers, in the same snapshot as its data, how far each partition involved has come. So whether
an answer is new enough is decided by its own rows, never by what somebody else said about the instance.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shardproxy.query import Query

Rows = Sequence[Mapping[str, Any]]
Position = tuple[int, int]
"""A place in one partition's log; later ones compare greater."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition as an instance has it: everything up to `position`, all that was received before `watermark`."""

    position: Position
    watermark: datetime


@dataclass(frozen=True, slots=True)
class ProgressProbe:
    """How to learn progress: `query` asks for nothing else (parameter `partitions`), `parse` finds it in rows.

    `parse` leaves out partitions that the instance does not hold.
    """

    query: Query
    parse: Callable[[Rows], dict[int, Progress]]


@dataclass(frozen=True, slots=True)
class FreshnessRequirement:
    """An answer has everything up to `min_positions`, and everything received `max_staleness_seconds` ago.

    Partitions without a minimum may be anywhere.
    """

    probe: ProgressProbe
    min_positions: Mapping[int, Position] = field(default_factory=dict)
    max_staleness_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FreshnessLag:
    """The partition that is not far enough. `wanted` is None when it is its age that does not do."""

    partition: int
    reached: Progress
    wanted: Position | None


def find_shortfall(
    demand: FreshnessRequirement, progress: Mapping[int, Progress], *, partitions: Iterable[int], now: datetime
) -> FreshnessLag | None:
    """The first of `partitions` that is not far enough; those that are not here are the caller's own matter."""
    oldest = None if demand.max_staleness_seconds is None else now - timedelta(seconds=demand.max_staleness_seconds)
    for partition in partitions:
        reached = progress.get(partition)
        if reached is None:
            continue
        wanted = demand.min_positions.get(partition)
        if wanted is not None and reached.position < wanted:
            return FreshnessLag(partition, reached, wanted)
        if oldest is not None and reached.watermark < oldest:
            return FreshnessLag(partition, reached, None)
    return None


def raise_demand(demand: FreshnessRequirement, seen: Iterable[Mapping[int, Progress]]) -> FreshnessRequirement:
    """`demand`, and besides everything that any of `seen` has."""
    highest = dict(demand.min_positions)
    for progress in seen:
        for partition, reached in progress.items():
            highest[partition] = max(highest.get(partition, reached.position), reached.position)
    return replace(demand, min_positions=highest)


def measure_distance(progress: Mapping[int, Progress], *, partitions: Sequence[int]) -> list[Position]:
    """For ordering instances of a shard: they replay one WAL, so one that is further with any partition is behind
    with none."""
    return [progress[p].position if p in progress else (0, 0) for p in partitions]

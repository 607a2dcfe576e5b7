"""Freshness requirements of reads: bounded staleness and read-your-writes. Pure.

Every read statement returns, in the same snapshot as its data, the progress of each partition involved. So whether
rows are fresh enough is decided by the rows themselves, never by an earlier measurement of the instance.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shardproxy.query import Query

Rows = Sequence[Mapping[str, Any]]
Position = tuple[int, int]
"""A position in one partition's log; later ones compare greater."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition as an instance has it: everything up to `position`, all that was received before `watermark`.

    `lost`: except entries in these ranges, after the first position and up to the second, which the log has lost.
    """

    position: Position
    watermark: datetime
    lost: tuple[tuple[Position, Position], ...] = ()


@dataclass(frozen=True, slots=True)
class ProgressProbe:
    """How to read progress: `query` returns nothing else (parameter `partitions`), `parse` finds it in any rows.

    `parse` leaves out partitions that the instance does not hold. `request` is a write (parameter `partitions`) by
    which a read that waits for a newer watermark asks the shard's primary for one; None: it only waits.
    """

    query: Query
    parse: Callable[[Rows], dict[int, Progress]]
    request: Query | None = None


@dataclass(frozen=True, slots=True)
class FreshnessRequirement:
    """Rows must include everything up to `min_positions`, and everything received `max_staleness_seconds` ago.

    Partitions without a minimum may be at any position.
    """

    probe: ProgressProbe
    min_positions: Mapping[int, Position] = field(default_factory=dict)
    max_staleness_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FreshnessLag:
    """A partition that does not meet a requirement. `required` is None if only its staleness is too high."""

    partition: int
    reached: Progress
    required: Position | None


@dataclass(frozen=True, slots=True)
class LostPosition:
    """A required position that lies in a range that the log has lost: no instance will ever have it."""

    partition: int
    required: Position
    after: Position
    through: Position


def find_lost(
    requirement: FreshnessRequirement, progress: Mapping[int, Progress], *, partitions: Iterable[int]
) -> LostPosition | None:
    """The first required position that is lost."""
    for partition in partitions:
        required = requirement.min_positions.get(partition)
        if required is None or partition not in progress:
            continue
        for after, through in progress[partition].lost:
            if after < required <= through:
                return LostPosition(partition, required, after, through)
    return None


def find_lag(
    requirement: FreshnessRequirement, progress: Mapping[int, Progress], *, partitions: Iterable[int], now: datetime
) -> FreshnessLag | None:
    """The lag of the first of `partitions` that does not meet the requirement, skipping those without progress."""
    oldest = (
        None
        if requirement.max_staleness_seconds is None
        else now - timedelta(seconds=requirement.max_staleness_seconds)
    )
    for partition in partitions:
        reached = progress.get(partition)
        if reached is None:
            continue
        required = requirement.min_positions.get(partition)
        if required is not None and reached.position < required:
            return FreshnessLag(partition, reached, required)
        if oldest is not None and reached.watermark < oldest:
            return FreshnessLag(partition, reached, None)
    return None


def raise_requirement(
    requirement: FreshnessRequirement, seen: Iterable[Mapping[int, Progress]]
) -> FreshnessRequirement:
    """`requirement` with the highest positions of `seen` as minimums."""
    highest = dict(requirement.min_positions)
    for progress in seen:
        for partition, reached in progress.items():
            highest[partition] = max(highest.get(partition, reached.position), reached.position)
    return replace(requirement, min_positions=highest)


def measure_distance(progress: Mapping[int, Progress], *, partitions: Sequence[int]) -> list[Position]:
    """A sort key for instances of a shard: they replay one WAL, so an instance that is ahead in one partition is
    behind in none."""
    return [progress[p].position if p in progress else (0, 0) for p in partitions]

"""Metadata of every answer: completeness, age and origin."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from clusterproxy.results import Route
from viewcounter.cache.read_cache import CacheResult, Origin
from viewcounter.storage.lost_ranges import KnownLoss
from viewcounter.storage.reads import Seen

MAX_LOST = 20


class Source(StrEnum):
    """A kind of rows that an answer is computed from."""

    TOTAL = "total"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Meta:
    """`complete_until`: every event received before it is in the answer (the oldest watermark of what was read), never
    later than this process's clock.

    `as_of`: when the oldest part of it was read. `stale`: some rows are expired cache entries, because a shard is down;
    `age_seconds` is their age. `partial`: some shards did not answer; `missing` names what is therefore left out.
    `sources`: coarsest first. `is_final`: only a correction can change the answer. `routes`: how each shard was read,
    if the request says so. `approximate`: error bounds by function; empty: the values are exact. `lost`: of the log of
    these partitions, of which acknowledged events may be missing; those that no operator has closed, at most MAX_LOST.
    """

    complete_until: datetime
    as_of: datetime
    sources: tuple[Source, ...]
    stale: bool = False
    partial: bool = False
    missing: tuple[str, ...] = ()
    age_seconds: float | None = None
    is_final: bool = False
    routes: tuple[Route, ...] = ()
    approximate: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lost: tuple[KnownLoss, ...] = ()


def build_meta(
    seen: Iterable[Seen],
    *,
    sources: Collection[Source],
    now: datetime,
    results: Collection[CacheResult] = (),
    missing: tuple[str, ...] = (),
    routes: tuple[Route, ...] = (),
    approximate: Mapping[str, Mapping[str, float]] | None = None,
) -> Meta:
    """`seen` may have a partition several times, and must not be empty: nothing read is an error, not an answer.
    Without `results` it was read now."""
    seen = list(seen)
    as_of = min((result.read_at for result in results), default=now)
    is_stale = any(result.origin is Origin.STALE for result in results)
    return Meta(
        complete_until=min(now, *(s.watermark for s in seen)).astimezone(UTC),
        as_of=as_of,
        sources=tuple(source for source in Source if source in sources),
        stale=is_stale,
        partial=bool(missing),
        missing=missing,
        age_seconds=max(0.0, round((now - as_of).total_seconds(), 3)) if is_stale else None,
        is_final=bool(results) and not is_stale and not missing and all(r.is_final for r in results),
        routes=routes,
        approximate=approximate or {},
        lost=_find_open_losses(seen),
    )


def _find_open_losses(seen: Iterable[Seen]) -> tuple[KnownLoss, ...]:
    found = {loss for one in seen if one.losses for loss in one.losses if loss.is_open}
    return tuple(sorted(found, key=lambda loss: (-loss.found_at.timestamp(), loss.partition)))[:MAX_LOST]

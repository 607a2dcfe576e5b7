"""What every answer says about itself: how complete, how old, from where."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from clusterproxy.results import Route
from viewcounter.storage.reads import Seen


class Source(StrEnum):
    """A kind of rows that an answer was computed from."""

    TOTAL = "total"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Meta:
    """`complete_until`: every event received before it is in the answer (the oldest watermark of what was read).

    `as_of`: when it was read. `stale`: kept from an earlier answer because the shard is down. `partial`: some
    shards did not answer; `missing` names what is therefore left out. `sources`: coarsest first. `routes`: how each
    shard came to its part, where that was asked.
    """

    complete_until: datetime
    as_of: datetime
    sources: tuple[Source, ...]
    stale: bool = False
    partial: bool = False
    missing: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


def build_meta(
    seen: Iterable[Seen],
    *,
    sources: Collection[Source],
    now: datetime,
    missing: tuple[str, ...] = (),
    routes: tuple[Route, ...] = (),
) -> Meta:
    """`seen` must not be empty: an answer that has read nothing is an error, not an answer."""
    return Meta(
        complete_until=min(s.watermark for s in seen).astimezone(UTC),
        as_of=now,
        sources=tuple(source for source in Source if source in sources),
        partial=bool(missing),
        missing=missing,
        routes=routes,
    )

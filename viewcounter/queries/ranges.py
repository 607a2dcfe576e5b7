"""Periods and their buckets. Pure: aggregates have minute edges, so every period is rounded down to the minute."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from viewcounter.queries.errors import InvalidQuery

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

# RFC 3339: a full date and time of day, and an offset that says where. The dash, "T" and "Z" of the grammar only.
_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?", re.ASCII)
_LOST_PLUS = re.compile(r"\d{4}-\d{2}-\d{2}[Tt][\d:.]+ \d{2}:\d{2}", re.ASCII)


class Interval(StrEnum):
    """Width of a bucket; buckets are aligned to 1970-01-01 UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def width(self) -> timedelta:
        return _WIDTHS[self]

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("interval", "unknown_interval", f"must be one of: {allowed}") from None


_WIDTHS = {Interval.MINUTE: MINUTE, Interval.HOUR: timedelta(hours=1), Interval.DAY: timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end), UTC at minute edges; None is an open side. Invariant: start <= end."""

    start: datetime | None
    end: datetime | None

    @property
    def is_all_time(self) -> bool:
        return self.start is None and self.end is None


ALL_TIME = Period(start=None, end=None)


def parse_instant(field: str, text: str) -> datetime:
    """An RFC 3339 time with offset, as UTC. Raises InvalidQuery saying what is wrong with it."""
    if not _RFC_3339.fullmatch(text):
        raise InvalidQuery(field, *_explain_instant(text))
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidQuery(field, "invalid_time", "is no date and time of the calendar") from None


def _explain_instant(text: str) -> tuple[str, str]:
    if _LOST_PLUS.fullmatch(text):
        return "invalid_time", "has a space where the offset's + should be: write + as %2B in a URL"
    if _WITHOUT_OFFSET.fullmatch(text):
        return "missing_offset", "must say its offset from UTC, for example 2026-01-31T12:00:00Z"
    return "invalid_time", "must be an RFC 3339 time, for example 2026-01-31T12:00:00Z"


def floor_to(instant: datetime, width: timedelta) -> datetime:
    """The start of the bucket that `instant` falls into."""
    return instant - (instant - EPOCH) % width


def effective_period(*, start: datetime | None, end: datetime | None) -> Period:
    """The period that can be answered: both edges in UTC, rounded down to the minute.

    Raises InvalidQuery for a time without offset and for an end before the start. An empty period is fine.
    """
    for field, instant in (("start_time", start), ("end_time", end)):
        if instant is not None and instant.tzinfo is None:
            raise InvalidQuery(field, "missing_offset", "must say its offset from UTC")
    if start is not None and end is not None and end < start:
        raise InvalidQuery("end_time", "end_before_start", "must not be before start_time")
    return Period(
        start=start and floor_to(start.astimezone(UTC), MINUTE), end=end and floor_to(end.astimezone(UTC), MINUTE)
    )


def count_buckets(period: Period, interval: Interval) -> int:
    """How many buckets the period touches; the first and last may be touched only in part. Needs both edges."""
    start, end = _edges(period)
    if start == end:
        return 0
    return (floor_to(end - MINUTE, interval.width) - floor_to(start, interval.width)) // interval.width + 1


def enumerate_buckets(period: Period, interval: Interval) -> Iterator[datetime]:
    """The starts of the buckets that the period touches, ascending; the first may lie before the period's start."""
    first = floor_to(_edges(period)[0], interval.width)
    for index in range(count_buckets(period, interval)):
        yield first + index * interval.width


def check_buckets(period: Period, interval: Interval, *, max_buckets: int) -> None:
    """Raises InvalidQuery when an edge is open or the answer would have more than `max_buckets` buckets."""
    for field, instant in (("start_time", period.start), ("end_time", period.end)):
        if instant is None:
            raise InvalidQuery(field, "required", "is required with an interval")
    asked = count_buckets(period, interval)
    if asked > max_buckets:
        message = f"asks for {asked} buckets of one {interval}; at most {max_buckets} are answered at once"
        raise InvalidQuery("interval", "too_many_buckets", message)


def _edges(period: Period) -> tuple[datetime, datetime]:
    if period.start is None or period.end is None:
        raise ValueError("only a period with both edges has buckets")
    return period.start, period.end

"""Periods. Pure: aggregates have minute edges, so every period is rounded down to the minute."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from viewcounter.events.times import NotATime, parse_time
from viewcounter.queries.errors import InvalidQuery

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

_LOST_PLUS = re.compile(r"\d{4}-\d{2}-\d{2}[Tt][\d:.]+ \d{2}:\d{2}", re.ASCII)


class Interval(StrEnum):
    """Width of a bucket, on the clock and calendar of a zone; see `buckets`."""

    MINUTE = "minute"
    FIVE_MINUTES = "5m"
    QUARTER_HOUR = "15m"
    HALF_HOUR = "30m"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("interval", "unknown_interval", f"must be one of: {allowed}") from None


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
    """An RFC 3339 time with offset, as UTC. Raises InvalidQuery with the reason."""
    try:
        return parse_time(text)
    except NotATime as error:
        raise InvalidQuery(field, *_explain_instant(text, error)) from None


def _explain_instant(text: str, error: NotATime) -> tuple[str, str]:
    if _LOST_PLUS.fullmatch(text):
        return "invalid_time", "has a space where the offset's + should be: write + as %2B in a URL"
    if error.lacks_offset:
        return "missing_offset", f"must have an offset from UTC, for example {error.nearest}"
    if error.nearest:
        return "invalid_time", f"must be an RFC 3339 time: write {error.nearest.replace('+', '%2B')}"
    return "invalid_time", "must be an RFC 3339 time of the calendar, for example 2026-01-31T12:00:00Z"


def floor_to(instant: datetime, width: timedelta) -> datetime:
    """The start of the stretch of `width`, counted from 1970 UTC, that `instant` falls into."""
    return instant - (instant - EPOCH) % width


def effective_period(*, start: datetime | None, end: datetime | None) -> Period:
    """The period that can be answered: both edges in UTC, rounded down to the minute.

    Raises InvalidQuery for a time without offset and for an end before the start. An empty period is fine.
    """
    for field, instant in (("start_time", start), ("end_time", end)):
        if instant is not None and instant.tzinfo is None:
            raise InvalidQuery(field, "missing_offset", "must have an offset from UTC")
    if start is not None and end is not None and end < start:
        raise InvalidQuery("end_time", "end_before_start", "must not be before start_time")
    return Period(
        start=start and floor_to(start.astimezone(UTC), MINUTE), end=end and floor_to(end.astimezone(UTC), MINUTE)
    )

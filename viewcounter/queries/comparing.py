"""A period compared with an earlier one, by the calendar of a zone. Pure.

`previous`: whole months are compared with as many months before (July with June), other whole dates with as many dates
before, whatever their hours (a day with the day of 25 hours before it), anything else with the same length of time. By
week, whole dates are compared with as many dates before even where they are months.

`year`: the same months, dates or times on the clock a year earlier. 29 February is compared with 28 February.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum
from fractions import Fraction
from typing import Protocol, TypeVar

from viewcounter.queries.calendars import DAY, find_dates, get_first_instant, subtract_months, subtract_year
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Number
from viewcounter.queries.ranges import MINUTE, Interval, Period, floor_to

_DECIMALS = 6


class Compare(StrEnum):
    PREVIOUS = "previous"
    YEAR = "year"

    @classmethod
    def parse(cls, text: str) -> "Compare":
        try:
            return cls(text)
        except ValueError:
            raise InvalidQuery("compare", "unknown_comparison", f"must be one of: {', '.join(cls)}") from None


@dataclass(frozen=True, slots=True)
class PeriodDifference:
    """`ratio` is None if the previous value is None or zero, `delta` if either value is None."""

    delta: Number | None
    ratio: float | None


class _HasValue(Protocol):
    @property
    def value(self) -> Number | None: ...


Answer = TypeVar("Answer", bound=_HasValue)


def plan_compared(period: Period, compare: Compare, *, zone: tzinfo = UTC, interval: Interval | None = None) -> Period:
    """The earlier period. Raises InvalidQuery for an open or empty period, or where the calendar ends."""
    if period.start is None or period.end is None:
        field = "start_time" if period.start is None else "end_time"
        raise InvalidQuery(field, "required", "is required to compare with an earlier period")
    if period.start == period.end:
        raise InvalidQuery("end_time", "empty_period", "must be at least a minute after start_time to be compared")
    try:
        if compare is Compare.YEAR:
            return _find_year_before(period.start, period.end, zone)
        return Period(_find_previous_start(period.start, period.end, zone, interval), period.start)
    except OverflowError:
        message = "the period or the earlier one lies beyond the years 1 to 9999"
        raise InvalidQuery("compare", "out_of_range", message) from None


def get_compared(get: Callable[[Period], Answer], compared: Period) -> Answer:
    """The answer of `get` for the earlier period. Raises InvalidQuery naming `compare` if it cannot be answered."""
    try:
        return get(compared)
    except InvalidQuery as error:
        message = f"the earlier period {compared.start:%Y-%m-%dT%H:%MZ} to {compared.end:%Y-%m-%dT%H:%MZ}: {error}"
        raise InvalidQuery("compare", error.code, message) from error


def _find_previous_start(start: datetime, end: datetime, zone: tzinfo, interval: Interval | None) -> datetime:
    dates = find_dates(start, end, zone)
    if dates is None:
        return start - (end - start)
    first, after = dates
    if _are_months(first, after) and interval is not Interval.WEEK:
        months = (after.year - first.year) * 12 + after.month - first.month
        return get_first_instant(subtract_months(first, months), zone)
    previous = first - (after - first)
    while get_first_instant(previous, zone) >= start:  # a date that the zone has skipped
        previous -= after - first
    return get_first_instant(previous, zone)


def _find_year_before(start: datetime, end: datetime, zone: tzinfo) -> Period:
    dates = find_dates(start, end, zone)
    if dates is None:
        return _move_clock(start.astimezone(zone), end.astimezone(zone))
    first, after = dates
    # The last date and not the one after it: the year before may have, or lack, a 29 February between the two.
    last = subtract_year(after) if _are_months(first, after) else subtract_year(after - DAY) + DAY
    return Period(get_first_instant(subtract_year(first), zone), get_first_instant(last, zone))


def _move_clock(start: datetime, end: datetime) -> Period:
    """Both edges by a year on the wall clock of their zone."""
    moved_start = datetime.combine(subtract_year(start.date()), start.timetz())
    if any((edge.month, edge.day) == (2, 29) for edge in (start, end)):
        # Both 28 and 29 February would move to 28 February: the time on the clock between the edges decides.
        moved_end = moved_start + (end.replace(tzinfo=None) - start.replace(tzinfo=None))
    else:
        moved_end = datetime.combine(subtract_year(end.date()), end.timetz())
    first, last = (floor_to(edge.astimezone(UTC), MINUTE) for edge in (moved_start, moved_end))
    if first >= last:  # within an hour that clocks repeat, or moved into one that they skip
        last = first + (end.astimezone(UTC) - start.astimezone(UTC))
    return Period(first, last)


def _are_months(first: date, after: date) -> bool:
    return first.day == after.day == 1


def subtract(value: Number | None, before: Number | None) -> PeriodDifference:
    if value is None or before is None:
        return PeriodDifference(None, None)
    delta: Number = value - before
    return PeriodDifference(
        delta=delta if isinstance(delta, int) else round(delta, _DECIMALS),
        ratio=round(float(Fraction(value) / Fraction(before)), _DECIMALS) if before else None,
    )

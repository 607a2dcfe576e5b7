"""Dates of a zone's calendar: the bucket of dates that a date belongs to, and when a date begins. Pure."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Self

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import MINUTE, Interval, floor_to

DAY = timedelta(days=1)
CALENDAR_INTERVALS = frozenset({Interval.DAY, Interval.WEEK, Interval.MONTH, Interval.QUARTER, Interval.YEAR})
"""Intervals whose buckets are made of dates; all others are stretches of the clock."""


class WeekStart(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(text.lower())
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("week_start", "unknown_week_start", f"must be one of: {allowed}") from None

    @property
    def weekday(self) -> int:
        """As `date.weekday`: 0 is Monday."""
        return _WEEKDAYS[self]


_WEEKDAYS = {day: number for number, day in enumerate(WeekStart)}


def floor_date(day: date, interval: Interval, *, week_start: WeekStart = WeekStart.MONDAY) -> date:
    """The first date of the bucket that `day` belongs to."""
    match interval:
        case Interval.WEEK:
            return day - timedelta(days=(day.weekday() - week_start.weekday) % 7)
        case Interval.MONTH:
            return day.replace(day=1)
        case Interval.QUARTER:
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case Interval.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def get_next_date(day: date, interval: Interval) -> date:
    """The first date of the bucket after the one that begins with `day`. Raises OverflowError after the year 9999."""
    match interval:
        case Interval.WEEK:
            return day + timedelta(days=7)
        case Interval.MONTH:
            return (day + timedelta(days=31)).replace(day=1)
        case Interval.QUARTER:
            return (day + timedelta(days=92)).replace(day=1)
        case Interval.YEAR:
            return (day + timedelta(days=366)).replace(month=1, day=1)
        case _:
            return day + DAY


def get_first_instant(day: date, zone: tzinfo) -> datetime:
    """Midnight; where clocks skip it, the moment of the change; where they repeat it, the first time. In UTC."""
    return floor_to(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC), MINUTE)


def find_dates(start: datetime, end: datetime, zone: tzinfo) -> tuple[date, date] | None:
    """The first date of [start, end) and the date after its last one; None unless it consists of whole dates."""
    first, after = start.astimezone(zone).date(), end.astimezone(zone).date()
    is_whole = get_first_instant(first, zone) == start and get_first_instant(after, zone) == end
    return (first, after) if is_whole else None


def subtract_months(first_of_month: date, months: int) -> date:
    """Raises OverflowError before the year 1."""
    number = first_of_month.year * 12 + first_of_month.month - 1 - months
    if number < 12:
        raise OverflowError("before the year 1")
    return date(number // 12, number % 12 + 1, 1)


def subtract_year(day: date) -> date:
    """The same date a year earlier; 28 February for 29 February. Raises OverflowError before the year 1."""
    if day.year == 1:
        raise OverflowError("before the year 1")
    is_leap_day = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year - 1, day=28 if is_leap_day else day.day)

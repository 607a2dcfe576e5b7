"""The buckets of a series: a period cut at the edges of a zone's clock or calendar. Pure.

Buckets are disjoint and leave nothing out, on every day:

- `minute`, `5m`, `15m`, `30m`, `hour`: one bucket for each stretch of real time in which the wall clock shows the same
  minute, 5 minutes, quarter, half or whole hour under the same offset. An hour that is repeated when clocks go back is
  two buckets with different offsets; one that is skipped is none. Where clocks move by half an hour
  (Australia/Lord_Howe), the hour of the change is two buckets.
- `day`, `week`, `month`, `quarter`, `year`: from the first instant of the local date to the first of the next bucket's:
  23, 24 or 25 hours a day. A week begins on Monday unless the query names another day. A date that never happened
  (Pacific/Apia, 2011-12-30) is no bucket.

Offsets of seconds (before about 1900) are rounded down to the minute, like every edge.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice

from viewcounter.queries.calendars import (
    CALENDAR_INTERVALS,
    DAY,
    WeekStart,
    floor_date,
    get_first_instant,
    get_next_date,
)
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import MINUTE, Interval, Period, floor_to

# No bucket is longer, whatever the clocks do: gives the least number of buckets of a period.
_LONGEST = {
    Interval.MINUTE: MINUTE,
    Interval.FIVE_MINUTES: 5 * MINUTE,
    Interval.QUARTER_HOUR: 15 * MINUTE,
    Interval.HALF_HOUR: 30 * MINUTE,
    Interval.HOUR: 60 * MINUTE,
    Interval.DAY: 2 * DAY,
    Interval.WEEK: 8 * DAY,
    Interval.MONTH: 32 * DAY,
    Interval.QUARTER: 93 * DAY,
    Interval.YEAR: 367 * DAY,
}


def list_buckets(
    period: Period,
    interval: Interval,
    *,
    zone: tzinfo,
    max_buckets: int,
    week_start: WeekStart = WeekStart.MONDAY,
) -> list[datetime]:
    """The starts (UTC) of the buckets that the period touches, ascending; the first may lie before the period's.

    Raises InvalidQuery when an edge is open or there would be more than `max_buckets`.
    """
    start, end = _get_edges(period)
    least = (end - start) // _LONGEST[interval]
    if least <= max_buckets:
        try:
            buckets = list(islice(_enumerate(start, end, interval, zone, week_start), max_buckets + 1))
        except OverflowError:
            message = "lies too close to the end of the calendar for local time"
            raise InvalidQuery("start_time", "invalid_time", message) from None
        least = len(buckets)
        if least <= max_buckets:
            return buckets
    message = f"gives at least {least} buckets of one {interval}; at most {max_buckets} are returned at once"
    raise InvalidQuery("interval", "too_many_buckets", message)


def _get_edges(period: Period) -> tuple[datetime, datetime]:
    if period.start is None:
        raise InvalidQuery("start_time", "required", "is required with an interval")
    if period.end is None:
        raise InvalidQuery("end_time", "required", "is required with an interval")
    return period.start, period.end


def _enumerate(
    start: datetime, end: datetime, interval: Interval, zone: tzinfo, week_start: WeekStart
) -> Iterator[datetime]:
    if start == end:
        return iter(())
    if interval in CALENDAR_INTERVALS:
        return _walk_calendar(start, end, interval, zone, week_start)
    return _walk_clock(start, end, _LONGEST[interval], zone)


def _walk_clock(start: datetime, end: datetime, width: timedelta, zone: tzinfo) -> Iterator[datetime]:
    offset = _get_offset(start, zone)
    edge = floor_to(start + offset, width) - offset
    if _get_offset(edge, zone) != offset:
        edge = _find_change(edge, start, zone)
    while edge < end:
        yield edge
        offset = _get_offset(edge, zone)
        following = floor_to(edge + offset, width) - offset + width
        last = following - MINUTE
        edge = following if _get_offset(last, zone) == offset else _find_change(edge, last, zone)


def _get_offset(instant: datetime, zone: tzinfo) -> timedelta:
    if zone is UTC:
        return timedelta(0)
    offset = instant.astimezone(zone).utcoffset() or timedelta(0)
    return offset - offset % MINUTE


def _find_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The first minute after `before` that has another offset than it; `after` has one. By bisection."""
    offset = _get_offset(before, zone)
    while after - before > MINUTE:
        middle = floor_to(before + (after - before) / 2, MINUTE)
        if _get_offset(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after


def _walk_calendar(
    start: datetime, end: datetime, interval: Interval, zone: tzinfo, week_start: WeekStart
) -> Iterator[datetime]:
    day = floor_date(start.astimezone(zone).date(), interval, week_start=week_start)
    edge = get_first_instant(day, zone)
    while edge < end:
        day = get_next_date(day, interval)
        following = get_first_instant(day, zone)
        if following > edge:  # a date that was skipped begins when the next one does
            yield edge
        edge = following

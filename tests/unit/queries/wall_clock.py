"""What a bucket is, said once more in the slow way: by looking at the wall clock of every quarter of an hour."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.ranges import Interval
from viewcounter.queries.zones import get_zone

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # clocks move by half an hour
    "Asia/Kathmandu",  # +05:45
    "Asia/Kolkata",  # +05:30
    "Australia/Adelaide",  # +09:30 and +10:30
    "+05:30",
    "-03:45",
    "Pacific/Chatham",  # +12:45 and +13:45
    "America/Havana",  # the hour after midnight is repeated
    "Africa/Cairo",  # the hour after midnight is skipped
)

QUARTER = timedelta(minutes=15)
"""All these zones change their clocks, and begin their hours, at quarters of an hour."""
OFF_THE_QUARTER = "+05:17"
"""A zone that does not."""
_BEHIND_IT, _BY = "+05:15", timedelta(minutes=2)

_WIDTHS = {
    Interval.MINUTE: 1,
    Interval.FIVE_MINUTES: 5,
    Interval.QUARTER_HOUR: 15,
    Interval.HALF_HOUR: 30,
    Interval.HOUR: 60,
}


def find_step(interval: Interval) -> timedelta:
    """Every edge of a bucket lies at a multiple of it."""
    return min(timedelta(minutes=_WIDTHS.get(interval, 15)), QUARTER)


def get_label(instant: datetime, interval: Interval, zone_name: str, week_start: WeekStart = WeekStart.MONDAY) -> tuple:
    """Instants side by side with equal labels are in one bucket."""
    local = instant.astimezone(get_zone(zone_name))
    match interval:
        case Interval.DAY:
            return (local.date(),)
        case Interval.WEEK:
            return _count_week_starts(local.date(), week_start)
        case Interval.MONTH:
            return local.year, local.month
        case Interval.QUARTER:
            return local.year, (local.month + 2) // 3
        case Interval.YEAR:
            return (local.year,)
    width = _WIDTHS[interval]
    minutes = local.hour * 60 + local.minute
    return local.date(), minutes // width, local.utcoffset()


def _count_week_starts(day: date, week_start: WeekStart) -> tuple[int]:
    """How many such days of the week there have been up to the date: another with each of them."""
    first = next(day for day in (date(1, 1, n) for n in range(1, 8)) if f"{day:%A}".lower() == week_start)
    return ((day - first).days // 7,)


def find_bucket_start(
    instant: datetime, interval: Interval, zone_name: str, week_start: WeekStart = WeekStart.MONDAY
) -> datetime:
    """The first instant of the bucket that `instant` falls into, in UTC."""
    if zone_name == OFF_THE_QUARTER:
        return find_bucket_start(instant + _BY, interval, _BEHIND_IT, week_start) - _BY
    step = find_step(interval) // timedelta(minutes=1)
    floored = instant.astimezone(UTC).replace(minute=instant.minute // step * step, second=0, microsecond=0)
    return floored if step < 15 else _walk_back(floored, interval, zone_name, week_start)


@lru_cache(maxsize=100_000)
def _walk_back(instant: datetime, interval: Interval, zone_name: str, week_start: WeekStart) -> datetime:
    """Quarter by quarter, or day by day for what is made of days."""
    is_long = interval in (Interval.WEEK, Interval.MONTH, Interval.QUARTER, Interval.YEAR)
    label = get_label(instant, interval, zone_name, week_start)
    start = _walk_back(instant, Interval.DAY, zone_name, WeekStart.MONDAY) if is_long else instant
    while get_label(start - QUARTER, interval, zone_name, week_start) == label:
        start -= QUARTER
        if is_long:
            start = _walk_back(start, Interval.DAY, zone_name, WeekStart.MONDAY)
    return start

"""What a bucket is, said once more in the slow way: by looking at the wall clock of every quarter of an hour."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from viewcounter.queries.ranges import Interval
from viewcounter.queries.zones import get_zone

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # clocks move by half an hour
    "Asia/Kathmandu",  # +05:45
    "Asia/Kolkata",  # +05:30
    "Pacific/Chatham",  # +12:45 and +13:45
    "America/Havana",  # the hour after midnight is repeated
    "Africa/Cairo",  # the hour after midnight is skipped
)

QUARTER = timedelta(minutes=15)
"""All these zones change their clocks at quarters of an hour."""


def get_label(instant: datetime, interval: Interval, zone_name: str) -> tuple:
    """Instants side by side with equal labels are in one bucket."""
    local = instant.astimezone(get_zone(zone_name))
    match interval:
        case Interval.DAY:
            return (local.date(),)
        case Interval.WEEK:
            return local.isocalendar()[:2]
        case Interval.MONTH:
            return local.year, local.month
    width = {Interval.MINUTE: 1, Interval.QUARTER_HOUR: 15, Interval.HOUR: 60}[interval]
    minutes = local.hour * 60 + local.minute
    return local.date(), minutes // width, local.utcoffset()


def find_bucket_start(instant: datetime, interval: Interval, zone_name: str) -> datetime:
    """The first instant of the bucket that `instant` falls into, in UTC."""
    if interval is Interval.MINUTE:
        return instant.replace(second=0, microsecond=0)
    quarter = instant.astimezone(UTC).replace(minute=instant.minute // 15 * 15, second=0, microsecond=0)
    return _walk_back(quarter, interval, zone_name)


@lru_cache(maxsize=100_000)
def _walk_back(instant: datetime, interval: Interval, zone_name: str) -> datetime:
    """Quarter by quarter, or day by day for what is made of days."""
    is_long = interval in (Interval.WEEK, Interval.MONTH)
    label = get_label(instant, interval, zone_name)
    start = _walk_back(instant, Interval.DAY, zone_name) if is_long else instant
    while get_label(start - QUARTER, interval, zone_name) == label:
        start -= QUARTER
        if is_long:
            start = _walk_back(start, Interval.DAY, zone_name)
    return start

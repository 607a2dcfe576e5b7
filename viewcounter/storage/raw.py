"""Reading raw events, and since when they are complete.

A day partition of `raw_event` holds what was *received* on that day, so raw events of an hour lie in the day of
that hour and in all later ones, up to the accept window. An hour is complete in raw if nothing that could hold one of
its events has been dropped yet.
"""

from datetime import UTC, datetime, timedelta

from viewcounter.storage.named_sql import load_queries

SLICE_OF_VIDEO = load_queries("raw.sql")["slice_of_video"]

HOUR = timedelta(hours=1)
_NAME_OF_DAY = "raw_event_%Y%m%d"


def get_raw_start(oldest_raw_day: str | None, *, raw_since: datetime) -> datetime | None:
    """Raw events received from here on are all there; None when there is no day partition at all.

    `oldest_raw_day` is one by its name, `raw_since` what the partition's row says.
    """
    if oldest_raw_day is None:
        return None
    return max(datetime.strptime(oldest_raw_day, _NAME_OF_DAY).replace(tzinfo=UTC), raw_since.astimezone(UTC))


def get_complete_from(raw_start: datetime, *, future_seconds: int) -> datetime:
    """The first hour whose events are all in raw: an event may have been received `future_seconds` before it occurred,
    on a day that is gone."""
    complete_at = raw_start + timedelta(seconds=future_seconds)
    return raw_start + HOUR * -((raw_start - complete_at) // HOUR)

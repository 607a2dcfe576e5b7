"""Reads raw events, and computes since when they are complete.

A day partition of `raw_event` holds the events *received* on that day, so raw events of an hour are in the day of that
hour and in later ones, up to the accept window. Raw events of an hour are complete while no day partition that could
hold one of them has been dropped.
"""

from datetime import UTC, datetime, timedelta

from viewcounter.storage.named_sql import load_queries

SLICE_OF_VIDEO = load_queries("raw.sql")["slice_of_video"]

HOUR = timedelta(hours=1)
_NAME_OF_DAY = "raw_event_%Y%m%d"


def get_raw_start(oldest_raw_day: str | None, *, raw_since: datetime) -> datetime | None:
    """The instant since which all received raw events are stored; None when there is no day partition.

    `oldest_raw_day`: name of the oldest day partition. `raw_since`: column of the partition's row.
    """
    if oldest_raw_day is None:
        return None
    return max(datetime.strptime(oldest_raw_day, _NAME_OF_DAY).replace(tzinfo=UTC), raw_since.astimezone(UTC))


def get_complete_from(raw_start: datetime, *, future_seconds: int) -> datetime:
    """The first hour whose raw events are complete: an event may have been received `future_seconds` before it
    occurred, on a day that has been dropped."""
    complete_at = raw_start + timedelta(seconds=future_seconds)
    return raw_start + HOUR * -((raw_start - complete_at) // HOUR)

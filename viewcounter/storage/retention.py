"""Removing what is too old from one partition, never more than the answers and the de-duplication can spare.

Invariants, held by the partition's row: an event is counted only if it happened at or after `admits_since`, and the id
of each earlier copy of such an event is still there; minutes are whole from `minutes_since` on, hours from
`hours_since` on; hours_since <= minutes_since <= rolled_through and minutes_since <= admits_since. So no event can
arrive for a bucket whose minutes are gone, and a bucket that is not rolled, or dirty, keeps what it is made from.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("retention.sql")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """Since when a partition has what: see the module."""

    admits_since: datetime
    minutes_since: datetime
    hours_since: datetime


@dataclass(frozen=True, slots=True)
class OldestMarks:
    """Starts of the oldest dirty hour and day, and of the oldest bucket whose sketches are due; None: there is none."""

    hour: datetime | None
    day: datetime | None
    sketch: datetime | None = None


def find_oldest_marks(connection: Connection, partition: int) -> OldestMarks:
    [row] = connection.execute(_SQL["find_oldest_marks"].text, {"partition": partition}).fetchall()
    return OldestMarks(*(row[name] and row[name].astimezone(UTC) for name in ("hour", "day", "sketch")))


def set_kept(connection: Connection, partition: int, kept: Kept) -> None:
    connection.execute(
        _SQL["set_horizon"].text,
        {
            "partition": partition,
            "admits_since": kept.admits_since,
            "minutes_since": kept.minutes_since,
            "hours_since": kept.hours_since,
        },
    )


def delete_minutes_of_hour(connection: Connection, partition: int, *, hour: datetime) -> int:
    """The minutes below one rolled hour. Returns how many."""
    return connection.execute(_SQL["delete_minutes_of_hour"].text, {"partition": partition, "hour": hour}).rowcount


def find_first_rolled_hour(connection: Connection, partition: int) -> datetime | None:
    row = connection.execute(_SQL["find_first_rolled_hour"].text, {"partition": partition}).fetchone()
    return None if row is None else row["start"].astimezone(UTC)


def delete_hours_of_day(connection: Connection, partition: int, *, day: datetime) -> int:
    """The hours below one rolled day. Returns how many."""
    return connection.execute(_SQL["delete_hours_of_day"].text, {"partition": partition, "day": day}).rowcount


def delete_hour_sketches_of_day(connection: Connection, partition: int, *, day: datetime) -> int:
    """The sketches of the hours below one day. Returns how many."""
    return connection.execute(_SQL["delete_hour_sketches_of_day"].text, {"partition": partition, "day": day}).rowcount


def delete_ids(connection: Connection, partition: int, *, guard: timedelta, limit: int) -> int:
    """Up to `limit` rows of ids that no admitted event needs. Returns how many."""
    parameters = {"partition": partition, "guard": guard, "limit": limit}
    return connection.execute(_SQL["delete_ids"].text, parameters).rowcount


def delete_resolved_dead_letters(
    connection: Connection, partition: int, *, horizon: datetime, age: timedelta, limit: int
) -> int:
    """Up to `limit` of those resolved longer than `age` before `horizon`. Returns how many."""
    parameters = {"partition": partition, "horizon": horizon, "age": age, "limit": limit}
    return connection.execute(_SQL["delete_resolved_dead_letters"].text, parameters).rowcount


def delete_conflicts(connection: Connection, partition: int, *, horizon: datetime, age: timedelta, limit: int) -> int:
    """Up to `limit` of those recorded longer than `age` before `horizon`. Returns how many."""
    parameters = {"partition": partition, "horizon": horizon, "age": age, "limit": limit}
    return connection.execute(_SQL["delete_conflicts"].text, parameters).rowcount

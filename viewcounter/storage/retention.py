"""Deletes old rows of one partition, as far as answers, rollups and de-duplication do not need them.

Invariants, held by the partition's row: an event is counted only if it occurred at or after `admits_since`, and the id
of each earlier copy of such an event is still stored; minutes are complete from `minutes_since` on, hours from
`hours_since` on; hours_since <= minutes_since <= rolled_through and minutes_since <= admits_since. So no event can
arrive for a bucket whose minutes are deleted, and the sources of a bucket that is dirty or not rolled yet are kept.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("retention.sql")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class RetentionEdges:
    """The edges of a partition's tiers; see the module."""

    admits_since: datetime
    minutes_since: datetime
    hours_since: datetime


@dataclass(frozen=True, slots=True)
class OldestMarks:
    """Start of the oldest dirty hour, dirty day, and bucket whose sketches are due; None if there is none."""

    hour: datetime | None
    day: datetime | None
    sketch: datetime | None = None


def find_oldest_marks(connection: Connection, partition: int) -> OldestMarks:
    [row] = connection.execute(_SQL["find_oldest_marks"].text, {"partition": partition}).fetchall()
    return OldestMarks(*(row[name] and row[name].astimezone(UTC) for name in ("hour", "day", "sketch")))


def set_edges(connection: Connection, partition: int, edges: RetentionEdges) -> None:
    connection.execute(
        _SQL["set_horizon"].text,
        {
            "partition": partition,
            "admits_since": edges.admits_since,
            "minutes_since": edges.minutes_since,
            "hours_since": edges.hours_since,
        },
    )


def delete_minutes_of_hour(connection: Connection, partition: int, *, hour: datetime) -> int:
    """Delete the minutes below one rolled hour. Returns their number."""
    return connection.execute(_SQL["delete_minutes_of_hour"].text, {"partition": partition, "hour": hour}).rowcount


def find_first_rolled_hour(connection: Connection, partition: int) -> datetime | None:
    row = connection.execute(_SQL["find_first_rolled_hour"].text, {"partition": partition}).fetchone()
    return None if row is None else row["start"].astimezone(UTC)


def delete_hours_of_day(connection: Connection, partition: int, *, day: datetime) -> int:
    """Delete the hours below one rolled day. Returns their number."""
    return connection.execute(_SQL["delete_hours_of_day"].text, {"partition": partition, "day": day}).rowcount


def delete_hour_sketches_of_day(connection: Connection, partition: int, *, day: datetime) -> int:
    """Delete the sketches of the hours below one day. Returns their number."""
    return connection.execute(_SQL["delete_hour_sketches_of_day"].text, {"partition": partition, "day": day}).rowcount


def delete_ids(connection: Connection, partition: int, *, guard: timedelta, limit: int) -> int:
    """Delete up to `limit` rows of ids that no admitted event needs. Returns their number."""
    parameters = {"partition": partition, "guard": guard, "limit": limit}
    return connection.execute(_SQL["delete_ids"].text, parameters).rowcount


def delete_resolved_dead_letters(
    connection: Connection, partition: int, *, horizon: datetime, age: timedelta, limit: int
) -> int:
    """Delete up to `limit` dead letters resolved more than `age` before `horizon`. Returns their number."""
    parameters = {"partition": partition, "horizon": horizon, "age": age, "limit": limit}
    return connection.execute(_SQL["delete_resolved_dead_letters"].text, parameters).rowcount


def delete_conflicts(connection: Connection, partition: int, *, horizon: datetime, age: timedelta, limit: int) -> int:
    """Delete up to `limit` conflicts recorded more than `age` before `horizon`. Returns their number."""
    parameters = {"partition": partition, "horizon": horizon, "age": age, "limit": limit}
    return connection.execute(_SQL["delete_conflicts"].text, parameters).rowcount

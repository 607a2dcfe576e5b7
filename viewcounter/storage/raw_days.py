"""Day partitions of `raw_event`: made ahead of time so that no flush meets a missing one, dropped whole when old."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from viewcounter.storage.named_sql import load_queries

DAYS_BEHIND = 1
DAYS_AHEAD = 7
GAP_MAX_DAYS = 60
"""No older days are made: the event log keeps no events for longer, and a wrong clock must not make years of them."""

_SQL = load_queries("raw_days.sql")


def plan_raw_days(today: date, *, newest: date | None) -> list[date]:
    """Yesterday (a flush may carry what was received before midnight) to a week ahead, and the days between these and
    `newest`, the last day that was made: a shard that was away for weeks gets the events of those weeks from the log.
    """
    since = today - timedelta(days=DAYS_BEHIND)
    if newest is not None:
        since = max(min(since, newest + timedelta(days=1)), today - timedelta(days=GAP_MAX_DAYS))
    return [since + timedelta(days=offset) for offset in range((today - since).days + DAYS_AHEAD + 1)]


def ensure_raw_days(connection: psycopg.Connection[Any], *, today: date) -> list[date]:
    """Create the day partitions that are missing; returns their days. Safe to repeat and to run beside itself."""
    return make_raw_days(connection, plan_raw_days(today, newest=max(list_raw_days(connection), default=None)))


def list_raw_days(connection: psycopg.Connection[Any]) -> list[date]:
    """Days that have a partition, ascending."""
    return [_get_start(name).date() for name in _list_names(connection)]


def find_raw_start(connection: psycopg.Connection[Any]) -> datetime | None:
    """When the oldest day begins; None when there is none."""
    days = list_raw_days(connection)
    return datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) if days else None


def make_raw_days(connection: psycopg.Connection[Any], days: Iterable[date]) -> list[date]:
    """Those of `days` that have no partition yet get one; returns which. Safe to repeat and to run beside itself."""
    existing = set(list_raw_days(connection))
    created = [day for day in days if day not in existing]
    for day in created:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        connection.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF raw_event FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(_get_name(day)),
                sql.Literal(start.isoformat()),
                sql.Literal((start + timedelta(days=1)).isoformat()),
            )
        )
    return created


def plan_old_raw_days(
    names: Iterable[str], *, watermark: datetime, admits_since: datetime, retention: timedelta, guard: timedelta
) -> list[str]:
    """Pure. Days that ended `retention` before the watermark and in which nothing that is still admitted can have been
    received; the edges are the oldest of the shard's partitions."""
    keep_from = min(watermark - retention, admits_since - guard)
    return sorted(name for name in names if _get_start(name) + timedelta(days=1) <= keep_from)


def find_old_raw_days(
    connection: psycopg.Connection[Any], *, horizon: datetime, retention: timedelta, guard: timedelta
) -> list[str]:
    """Names of the day partitions to drop; ages count back from the watermarks, and from `horizon` at most."""
    edges = connection.execute(_SQL["find_raw_edges"].text, {"horizon": horizon}).fetchone()
    if edges is None or edges["admits_since"] is None:
        return []
    return plan_old_raw_days(
        _list_names(connection),
        watermark=edges["watermark"],
        admits_since=edges["admits_since"],
        retention=retention,
        guard=guard,
    )


def drop_raw_day(connection: psycopg.Connection[Any], name: str, *, lock_seconds: float) -> None:
    """Waits no longer than `lock_seconds` for those who use the table: whoever comes after waits behind us."""
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{round(lock_seconds * 1000)}ms")))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


def _list_names(connection: psycopg.Connection[Any]) -> list[str]:
    """Also on a connection of Django's, whose rows are tuples."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [row["name"] for row in cursor.execute(_SQL["list_raw_days"].text)]


def _get_start(name: str) -> datetime:
    return datetime.strptime(name, "raw_event_%Y%m%d").replace(tzinfo=UTC)


def _get_name(day: date) -> str:
    return f"raw_event_{day:%Y%m%d}"

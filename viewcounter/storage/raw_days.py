"""Day partitions of `raw_event`: created ahead of time, so that no flush lacks one, and dropped whole when old."""

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
"""No older days are created: the event log holds no older events, and a wrong clock must not create years of them."""

_SQL = load_queries("raw_days.sql")


def plan_raw_days(today: date, *, newest: date | None) -> list[date]:
    """Yesterday (a flush may hold events received before midnight) to a week ahead, and the days since `newest`, the
    last existing one: a shard that was down for weeks gets the events of those weeks from the log.
    """
    since = today - timedelta(days=DAYS_BEHIND)
    if newest is not None:
        since = max(min(since, newest + timedelta(days=1)), today - timedelta(days=GAP_MAX_DAYS))
    return [since + timedelta(days=offset) for offset in range((today - since).days + DAYS_AHEAD + 1)]


def ensure_raw_days(connection: psycopg.Connection[Any], *, today: date) -> list[date]:
    """Create the missing day partitions; returns their days. Idempotent, and safe to run concurrently."""
    return make_raw_days(connection, plan_raw_days(today, newest=max(list_raw_days(connection), default=None)))


def list_raw_days(connection: psycopg.Connection[Any]) -> list[date]:
    """Days that have a partition, ascending."""
    return [_get_start(name).date() for name in _list_names(connection)]


def find_raw_start(connection: psycopg.Connection[Any]) -> datetime | None:
    """Start of the oldest day; None when there is none."""
    days = list_raw_days(connection)
    return datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) if days else None


def make_raw_days(connection: psycopg.Connection[Any], days: Iterable[date]) -> list[date]:
    """Create partitions for those of `days` that have none; returns these. Idempotent, and safe to run concurrently."""
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
    """Pure. Days that ended `retention` before the watermark and on which no event that is still admitted can have been
    received. `watermark` and `admits_since` are the oldest of the shard's partitions."""
    keep_from = min(watermark - retention, admits_since - guard)
    return sorted(name for name in names if _get_start(name) + timedelta(days=1) <= keep_from)


def find_old_raw_days(
    connection: psycopg.Connection[Any], *, horizon: datetime, retention: timedelta, guard: timedelta
) -> list[str]:
    """Names of the day partitions to drop. Ages are measured from the oldest watermark, or `horizon` if earlier."""
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
    """Waits at most `lock_seconds` for the lock, because later statements on the table queue behind this one."""
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{round(lock_seconds * 1000)}ms")))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


def _list_names(connection: psycopg.Connection[Any]) -> list[str]:
    """Works also on a connection of Django, whose rows are tuples."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [row["name"] for row in cursor.execute(_SQL["list_raw_days"].text)]


def _get_start(name: str) -> datetime:
    return datetime.strptime(name, "raw_event_%Y%m%d").replace(tzinfo=UTC)


def _get_name(day: date) -> str:
    return f"raw_event_{day:%Y%m%d}"

"""Day partitions of `raw_event`, made ahead of time so that no flush meets a missing one."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from viewcounter.storage.named_sql import load_queries

DAYS_BEHIND = 1
DAYS_AHEAD = 7

_SQL = load_queries("raw_days.sql")


def plan_raw_days(today: date) -> list[date]:
    """Yesterday (a flush may carry what was received before midnight) to a week ahead."""
    return [today + timedelta(days=offset) for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1)]


def ensure_raw_days(connection: psycopg.Connection[Any], *, today: date) -> list[date]:
    """Create the day partitions that are missing; returns their days. Safe to repeat and to run beside itself."""
    existing = {row["name"] for row in connection.execute(_SQL["list_raw_days"].text)}
    created = [day for day in plan_raw_days(today) if _get_name(day) not in existing]
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


def _get_name(day: date) -> str:
    return f"raw_event_{day:%Y%m%d}"

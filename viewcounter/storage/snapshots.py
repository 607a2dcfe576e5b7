"""One snapshot of a shard for several statements."""

from typing import Any

import psycopg
from psycopg import sql

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("snapshots.sql")

Connection = psycopg.Connection[Any]


def begin_snapshot(connection: Connection) -> None:
    """First in its transaction: all that follows reads one snapshot, and raw days stay until the end.

    Whoever opened the transaction has asked the server which term it serves, and after a query the isolation of a
    transaction is fixed: this ends it and begins another one with the same bounds and name.
    """
    kept = connection.execute(_SQL["read_bounds"].text).fetchall()
    bounds = [
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(row["name"]), sql.Literal(row["setting"])) for row in kept
    ]
    connection.execute(
        sql.SQL("; ").join([sql.SQL("COMMIT"), sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), *bounds])
    )
    hold_raw_days(connection)


def hold_raw_days(connection: Connection) -> None:
    """Until the end of the transaction no day of raw events is dropped."""
    connection.execute(_SQL["hold_raw_days"].text)

"""A transaction on a shard in which several statements read one snapshot."""

from typing import Any

import psycopg
from psycopg import sql

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("snapshots.sql")

Connection = psycopg.Connection[Any]


def begin_snapshot(connection: Connection) -> None:
    """Call first in a transaction: all later statements read one snapshot, and no raw day is dropped until the end.

    The proxy has queried the shard term when it opened the transaction, and the isolation level of a transaction is
    fixed after its first query: so this ends it and begins another one with the same bounds and name.
    """
    rows = connection.execute(_SQL["read_bounds"].text).fetchall()
    bounds = [
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(row["name"]), sql.Literal(row["setting"])) for row in rows
    ]
    connection.execute(
        sql.SQL("; ").join([sql.SQL("COMMIT"), sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), *bounds])
    )
    hold_raw_days(connection)


def hold_raw_days(connection: Connection) -> None:
    """Lock raw_event: no day partition is dropped until the transaction ends."""
    connection.execute(_SQL["hold_raw_days"].text)

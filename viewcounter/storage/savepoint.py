"""Tries parts of a flush under savepoints, to find the events that the shard refuses."""

from datetime import datetime
from typing import Any

import psycopg

from viewcounter.storage.flush_batch import FlushBatch
from viewcounter.storage.flush_content import write_content

_BLAMES_DATA = ("22", "23", "54")
"""SQLSTATE classes that an event can cause: data exception, integrity constraint, program limit (an index row too
long). All others, such as a missing table or permission, have other causes."""

Connection = psycopg.Connection[Any]


def is_blamed_on_data(sqlstate: str | None) -> bool:
    """`sqlstate` is None if the driver refused to encode a text."""
    return sqlstate is None or sqlstate[:2] in _BLAMES_DATA


def try_batch(
    connection: Connection, batch: FlushBatch, *, rolled_through: datetime, keep: bool
) -> psycopg.Error | UnicodeError | None:
    """Write the batch's content under a savepoint. Returns the error if an event may have caused it, else None.

    The savepoint is rolled back for a refused batch, and with `keep=False`. Raises every other error, which ends the
    caller's transaction.
    """
    try:
        with connection.transaction(force_rollback=not keep):
            write_content(connection, [batch], rolled_through={batch.partition: rolled_through})
    except (psycopg.Error, UnicodeError) as error:
        if connection.closed or not is_blamed_on_data(getattr(error, "sqlstate", None)):
            raise
        return error
    return None

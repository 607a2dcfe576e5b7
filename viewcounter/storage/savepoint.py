"""Parts of a flush tried inside a transaction that is rolled back: which of its events does the shard refuse?"""

from datetime import datetime
from typing import Any

import psycopg

from viewcounter.storage.flush import FlushBatch, write_content

_BLAMES_DATA = ("22", "23", "54")
"""SQLSTATE classes that an event can cause: data exception, integrity constraint, program limit (an index row too
long). Everything else, such as a missing table or permission, is no event's fault."""

Connection = psycopg.Connection[Any]


def is_blamed_on_data(sqlstate: str | None) -> bool:
    """None: the driver refused to send it, as text that is none."""
    return sqlstate is None or sqlstate[:2] in _BLAMES_DATA


def try_batch(
    connection: Connection, batch: FlushBatch, *, rolled_through: datetime, keep: bool
) -> psycopg.Error | UnicodeError | None:
    """Write the batch's content on top of what this transaction has written. The error if an event may be to blame.

    Nothing stays of a part that is refused, nor of one with `keep=False`. Raises every other error; the caller's
    transaction is over then.
    """
    try:
        with connection.transaction(force_rollback=not keep):
            write_content(connection, batch, rolled_through=rolled_through)
    except (psycopg.Error, UnicodeError) as error:
        if connection.closed or not is_blamed_on_data(getattr(error, "sqlstate", None)):
            raise
        return error
    return None

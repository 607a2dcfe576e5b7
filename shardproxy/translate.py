"""Translates driver errors into `shardproxy.errors`: by SQLSTATE, or by the state of the connection without one."""

import psycopg

from shardproxy.connection import ClientDeadlinePassed
from shardproxy.errors import (
    BadStatement,
    Conflict,
    DeadlineExceeded,
    InstanceUnavailable,
    OutcomeUnknown,
    OutOfResources,
    ReadOnlyInstance,
    ShardProxyError,
    StatementTimeout,
)

_BY_STATE: dict[str, type[ShardProxyError]] = {
    "57014": StatementTimeout,  # query_canceled
    "25006": ReadOnlyInstance,  # read_only_sql_transaction
    "40001": Conflict,  # serialization_failure; on a replica also: replay had to remove what the query read
    "40P01": Conflict,  # deadlock_detected
    "55P03": Conflict,  # lock_not_available
    "25P03": InstanceUnavailable,  # idle_in_transaction_session_timeout: the session is gone
    "25P04": InstanceUnavailable,  # transaction_timeout: the session is gone
    "57P01": InstanceUnavailable,  # admin_shutdown
    "57P02": InstanceUnavailable,  # crash_shutdown
    "57P03": InstanceUnavailable,  # cannot_connect_now: starting up or shutting down
    "57P05": InstanceUnavailable,  # idle_session_timeout
}
_BY_CLASS: dict[str, type[ShardProxyError]] = {
    "08": InstanceUnavailable,  # connection exception
    "53": OutOfResources,  # disk, memory, connections
    "58": InstanceUnavailable,  # I/O error and the like outside PostgreSQL
}

_LEAVE_OUTCOME_OPEN = (InstanceUnavailable, DeadlineExceeded)


def translate(error: psycopg.Error | UnicodeError, *, instance: str, connection_lost: bool) -> ShardProxyError:
    """The ShardProxyError for an error of the driver. A `UnicodeError` is text that PostgreSQL cannot store."""
    sqlstate = getattr(error, "sqlstate", None)
    return _get_class(error, sqlstate, connection_lost=connection_lost)(
        _get_message(error), instance=instance, sqlstate=sqlstate
    )


def translate_in_commit(error: psycopg.Error, *, instance: str, connection_lost: bool) -> ShardProxyError:
    """Like `translate`, for an error of COMMIT: a server that closes the connection may have committed before.

    A terminated session counts as closed: while it waits for a synchronous standby, it has already committed locally.
    """
    ours = translate(error, instance=instance, connection_lost=connection_lost)
    if isinstance(ours, _LEAVE_OUTCOME_OPEN):
        return OutcomeUnknown(
            f"connection lost in COMMIT: {_get_message(error)}", instance=instance, sqlstate=ours.sqlstate
        )
    return ours


def _get_class(
    error: psycopg.Error | UnicodeError, sqlstate: str | None, *, connection_lost: bool
) -> type[ShardProxyError]:
    if isinstance(error, ClientDeadlinePassed):
        return DeadlineExceeded
    if sqlstate is not None:
        return _BY_STATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2]) or BadStatement
    return InstanceUnavailable if connection_lost else BadStatement


def _get_message(error: psycopg.Error | UnicodeError) -> str:
    """The first line only: the others repeat the statement, which may hold user data."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

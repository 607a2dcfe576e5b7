"""A connection that gives up when its caller's deadline passes, whatever the server does.

`statement_timeout` is kept by the server, so it bounds neither a frozen server nor a wait for a synchronous standby.
Every wait of psycopg, COPY and COMMIT included, goes through `Connection.wait`; bounding that one bounds them all.
"""

import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import RV, PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

_POLL_SECONDS = 0.1
_LOOKS = 3


class ClientDeadlinePassed(psycopg.OperationalError):
    """Our own deadline passed; the connection has been closed, since nobody knows what the server still does."""


@dataclass(frozen=True, slots=True)
class SessionMode:
    """What a session is set to. Kept on this side so that a read whose mode fits costs one round trip.

    `session_name` tells the killer, and whoever looks at the server, which class of query it runs; see
    `shardproxy.session_names`, whose names need no quoting.
    """

    read_only: bool
    statement_timeout_ms: int
    session_name: str

    def build_statement(self) -> str:
        """`RESET`, not `off`: a primary fenced by its own `default_transaction_read_only` must stay fenced."""
        read_only = (
            "SET default_transaction_read_only = on" if self.read_only else "RESET default_transaction_read_only"
        )
        return (
            f"SET statement_timeout = {self.statement_timeout_ms}; {read_only};"
            f" SET application_name = '{self.session_name}'"
        )


class DeadlineConnection(psycopg.Connection[dict[str, Any]]):
    """`deadline_at` is on the monotonic clock; None only while the connection rests in the pool.

    `mode` is what the session was last set to, None for the server's defaults.
    """

    deadline_at: float | None = None
    mode: SessionMode | None = None

    def wait(self, gen: PQGen[RV], interval: float = _POLL_SECONDS, timeout: float | None = None) -> RV:
        if self.deadline_at is not None:
            remaining = max(0.0, self.deadline_at - time.monotonic())
            timeout = remaining if timeout is None else min(timeout, remaining)
        try:
            return super().wait(gen, interval=interval, timeout=timeout)
        except psycopg.errors._WaitTimeout:
            # The answer may still arrive: this connection can never be used for another question.
            self.pgconn.finish()
            raise ClientDeadlinePassed("no answer before the deadline") from None

    def set_mode(self, mode: SessionMode) -> None:
        """Outside a transaction only: a rollback would take the setting back and leave `mode` wrong."""
        if self.mode != mode:
            self.execute(mode.build_statement(), prepare=False)
            self.mode = mode

    def cut(self) -> bool:
        """From another thread: its wait ends now, as if the server had hung up. False if there was nothing to cut.

        A duplicate of the socket is shut down, and only if its peer is our server: the owner may close its own
        descriptor at any moment, and the number may then stand for something else.
        """
        try:
            with socket.socket(fileno=os.dup(self.pgconn.socket)) as duplicate:
                if duplicate.getpeername()[1] != self.info.port:
                    return False
                duplicate.shutdown(socket.SHUT_RDWR)
        except (OSError, IndexError, psycopg.Error):  # it has just been closed
            return False
        return True

    @property
    def is_on_standby(self) -> bool:
        """By the server's own word, which comes with every change: no round trip."""
        return self.pgconn.parameter_status(b"in_hot_standby") == b"on"

    @property
    def lost(self) -> bool:
        return self.pgconn.status != pq.ConnStatus.OK

    def has_hung_up(self) -> bool:
        """Whether the server closed this idle connection. Looks at the socket only: no round trip.

        An idle connection has nothing to read but an end of file, or a notice that may stand before one.
        """
        for _ in range(_LOOKS):
            if self.lost:
                return True
            if not _is_readable(self.pgconn.socket):
                return False
            try:
                self.pgconn.consume_input()
            except psycopg.OperationalError:
                return True
        return True


def open_own_connection(**parameters: str | int) -> DeadlineConnection:
    """One outside any pool, in autocommit mode, rows as dicts. `parameters` are libpq's."""
    return DeadlineConnection.connect(make_conninfo("", **parameters), autocommit=True, row_factory=dict_row)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))

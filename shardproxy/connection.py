"""A psycopg connection with a deadline on the client side.

`statement_timeout` is enforced by the server, so it bounds neither a frozen server nor a wait for a synchronous
standby. Every wait of psycopg, COPY and COMMIT included, goes through `Connection.wait`: a bound there bounds them all.

The name of a session (`application_name`) is `<application> <purpose>`, for operators and the session reaper. The pool
sets it in the same statement as the time budget of a query class, so it costs no extra round trip; see decision 0020.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Any, Self, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import RV, PQGen
from psycopg.rows import dict_row

from shardproxy.passwords import list_passwords
from shardproxy.query import QueryClass

C = TypeVar("C")

_POLL_SECONDS = 0.1
_MAX_SOCKET_READS = 3


class Purpose(StrEnum):
    """Purposes of sessions that run no queries of a class. The session reaper never ends these."""

    HEALTH = "health"
    SHARD_PROXY = "shardproxy"
    CONFIG_SERVICE = "configservice"
    MIGRATION = "migrate_shards"
    MOVE = "move_partitions"


_PURPOSES: dict[str, QueryClass | Purpose] = {
    purpose.value: purpose for kind in (QueryClass, Purpose) for purpose in kind
}


def format_session_name(application: str, purpose: QueryClass | Purpose) -> str:
    return f"{application} {purpose}"


def find_purpose(session_name: str, *, application: str) -> QueryClass | Purpose | None:
    """None for the name of a foreign session, or of one of ours before its first query."""
    prefix, _, purpose = session_name.partition(" ")
    return _PURPOSES.get(purpose) if prefix == application else None


class ClientDeadlinePassed(psycopg.OperationalError):
    """The client's deadline passed. The connection is closed, since the state of the statement is unknown."""


@dataclass(frozen=True, slots=True)
class SessionMode:
    """The settings of a session, remembered on the client so that a read in the same mode costs one round trip.

    `session_name` becomes `application_name`, by which the session reaper and operators see the query class. The names
    of `format_session_name` need no quoting.
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


def connect_with_any(
    passwords: str,
    connect: Callable[[str, float | None], C],
    *,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> C:
    """What `connect` returns for the first of `passwords`, one a line, that the server accepts.

    libpq does not tell a wrong password from other refusals, so the next one is tried after any refusal; but not after
    a timeout, which would only be waited for again. `connect` gets the seconds that are left of `seconds`, which bounds
    all attempts together; None: no bound. The error of several has the text of each.
    """
    ends_at = None if seconds is None else clock() + seconds
    refusals: list[psycopg.OperationalError] = []
    for password in list_passwords(passwords):
        left = None if ends_at is None else ends_at - clock()
        try:
            if left is not None and left <= 0 and refusals:
                raise psycopg.errors.ConnectionTimeout("no time was left for it")
            return connect(password, left)
        except psycopg.OperationalError as error:
            refusals.append(error)
            if isinstance(error, psycopg.errors.ConnectionTimeout):
                break
    raise _join_errors(refusals, "; with another of the passwords: ")


def _join_errors(errors: Sequence[psycopg.OperationalError], separator: str) -> psycopg.OperationalError:
    """Of the type of the last one."""
    *others, last = errors
    if not others:
        return last
    joined = type(last)(separator.join(str(error).strip() for error in errors))
    joined.__cause__ = last
    return joined


def split_hosts(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """libpq's parameters of each host of `host` and `port`, which may be lists, separated by commas."""
    hosts, ports = (str(parameters.get(name) or "").split(",") for name in ("host", "port"))
    if len(hosts) == 1:
        return [dict(parameters)]
    if len(ports) == 1:
        ports *= len(hosts)
    return [{**parameters, "host": host, "port": port} for host, port in zip(hosts, ports, strict=True)]


class DeadlineConnection(psycopg.Connection[dict[str, Any]]):
    """`deadline_at` is on the monotonic clock; None only while the connection is idle in the pool.

    `mode` is the last mode that was set, None for the server's defaults.
    """

    deadline_at: float | None = None
    mode: SessionMode | None = None

    @classmethod
    def connect(cls, conninfo: str = "", *, password: str = "", **parameters: Any) -> Self:  # type: ignore[override]
        """As psycopg's. `password` may be several, one a line: see `connect_with_any`.

        `connect_timeout` bounds the attempts with all passwords at one host (by up to 2 s more, the least that psycopg
        waits), so a frozen host among several costs one time-out, however many passwords there are.
        """
        seconds = float(parameters.pop("connect_timeout", None) or 0) or None
        failures = []
        for host in split_hosts(parameters):
            try:
                return cls._connect_to(conninfo, password, host, seconds)
            except psycopg.OperationalError as error:
                failures.append(error)
        raise _join_errors(failures, "; of another host: ")

    @classmethod
    def _connect_to(cls, conninfo: str, passwords: str, parameters: Mapping[str, Any], seconds: float | None) -> Self:
        connect = super().connect
        return connect_with_any(
            passwords,
            lambda password, left: connect(
                conninfo,
                password=password or None,
                **{**parameters, **({} if left is None else {"connect_timeout": ceil(left)})},
            ),
            seconds=seconds,
        )

    def wait(self, gen: PQGen[RV], interval: float = _POLL_SECONDS, timeout: float | None = None) -> RV:
        if self.deadline_at is not None:
            remaining = max(0.0, self.deadline_at - time.monotonic())
            timeout = remaining if timeout is None else min(timeout, remaining)
        try:
            return super().wait(gen, interval=interval, timeout=timeout)
        except psycopg.errors._WaitTimeout:
            # The answer may still arrive, so the connection must never run another statement.
            self.pgconn.finish()
            raise ClientDeadlinePassed("no answer before the deadline") from None

    def set_mode(self, mode: SessionMode) -> None:
        """Outside a transaction only: a rollback would take the setting back and leave `mode` wrong."""
        if self.mode != mode:
            self.execute(mode.build_statement(), prepare=False)
            self.mode = mode

    def cut(self) -> bool:
        """Called from another thread: ends a wait as if the server had hung up. False if the connection was closed.

        Shuts down a duplicate of the socket, and only if its peer is our server: the owner may close its own
        descriptor at any moment, and the kernel may reuse the number for another file.
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
        """As reported by the server at each change (`in_hot_standby`): costs no round trip."""
        return self.pgconn.parameter_status(b"in_hot_standby") == b"on"

    @property
    def lost(self) -> bool:
        return self.pgconn.status != pq.ConnStatus.OK

    def has_hung_up(self) -> bool:
        """Whether the server closed this idle connection. Polls the socket only: no round trip.

        The only data on the socket of an idle connection are the end of file and notices before it.
        """
        for _ in range(_MAX_SOCKET_READS):
            if self.lost:
                return True
            if not _is_readable(self.pgconn.socket):
                return False
            try:
                self.pgconn.consume_input()
            except psycopg.OperationalError:
                return True
        return True


class AnsweredConnection(DeadlineConnection):
    """Each wait for the server is bounded by `wait_seconds`; then it is closed. A frozen server answers nothing, not
    even that a statement has run into its limit."""

    wait_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = _POLL_SECONDS, timeout: float | None = None) -> RV:
        self.deadline_at = None if self.wait_seconds is None else time.monotonic() + self.wait_seconds
        return super().wait(gen, interval=interval, timeout=timeout)


def open_dedicated_connection(**parameters: Any) -> DeadlineConnection:
    """A connection outside any pool, in autocommit mode, rows as dicts. `parameters` are libpq's."""
    return DeadlineConnection.connect(**parameters, autocommit=True, row_factory=dict_row)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))

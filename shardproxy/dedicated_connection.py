"""A dedicated connection to one instance, for probes, watches and the config service: a pool may be full.

Stays open between statements and reconnects after a failure. Each statement is bounded on the client side, so a frozen
server costs no more than that bound.
"""

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from configservice.topology.model import Instance
from shardproxy.connection import DeadlineConnection, Purpose, format_session_name, open_dedicated_connection
from shardproxy.conninfo import build_connection_parameters, build_hostaddr_parameters
from shardproxy.errors import InstanceMisconfigured, InstanceUnavailable, ShardProxyError
from shardproxy.settings import PoolSettings
from shardproxy.translate import translate


class DedicatedConnection:
    """Used by one thread at a time."""

    def __init__(self, instance: Instance, settings: PoolSettings, *, purpose: Purpose, address: str = "") -> None:
        """`address` pins the connection; see `shardproxy.conninfo.build_hostaddr_parameters`."""
        self._instance = instance
        self._settings = settings
        self._purpose = purpose
        self._hostaddr = build_hostaddr_parameters(address)
        self._connection: DeadlineConnection | None = None
        self.connect_timed_out = False
        """Whether the last failure was a timeout while connecting."""

    def fetch(
        self, statement: str, params: Mapping[str, Any] | None = None, *, timeout_seconds: float
    ) -> list[dict[str, Any]]:
        """Raises ShardProxyError when there is no answer within `timeout_seconds`.

        Connecting, if needed, may take `connect_timeout_seconds` more. A statement that is repeated is prepared.
        """
        return self._run(statement, params, timeout_seconds=timeout_seconds, prepare=None).fetchall()

    def execute(self, statement: str, *, timeout_seconds: float) -> None:
        """Like `fetch`, for a statement that returns no rows; outside any transaction."""
        self._run(statement, None, timeout_seconds=timeout_seconds, prepare=False)

    def fileno(self) -> int | None:
        """The socket while connected. Readable between statements: the server hung up, or reports a setting."""
        connection = self._connection
        return None if connection is None or connection.lost else connection.pgconn.socket

    def _run(
        self, statement: str, params: Mapping[str, Any] | None, *, timeout_seconds: float, prepare: bool | None
    ) -> psycopg.Cursor[dict[str, Any]]:
        """`prepare` as in psycopg; None: from its fifth execution on, as planning costs more than a probe reads."""
        try:
            connection = self._get_connection()
            connection.deadline_at = time.monotonic() + timeout_seconds
            return connection.execute(statement, params, prepare=prepare)
        except psycopg.Error as error:
            self.connect_timed_out = isinstance(error, psycopg.errors.ConnectionTimeout)
            raise self._translate(error) from error
        except InstanceMisconfigured as error:
            raise InstanceUnavailable(str(error), instance=self._instance.name) from error

    def ping(self) -> bool:
        """After a failed connection: whether the server is up and refused it (too many connections, wrong password).

        libpq does not report the SQLSTATE of a refused connection; only its ping tells. False without a ping if the
        attempt itself timed out: the ping would wait just as long.
        """
        if self.connect_timed_out:
            return False
        conninfo = make_conninfo(
            "",
            host=self._instance.host,
            port=self._instance.port,
            dbname=self._instance.database,
            user=self._instance.user,
            connect_timeout=self._settings.connect_timeout_seconds,
            **self._hostaddr,
        )
        return pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get_connection(self) -> DeadlineConnection:
        if self._connection is None or self._connection.has_hung_up():
            self.close()
            self._connection = open_dedicated_connection(**self._build_parameters())
        return self._connection

    def _build_parameters(self) -> dict[str, str | int]:
        parameters = build_connection_parameters(self._instance, self._settings)
        name = format_session_name(self._settings.application_name, self._purpose)
        return parameters | self._hostaddr | {"application_name": name}

    def _translate(self, error: psycopg.Error) -> ShardProxyError:
        """Closes a lost connection; keeps one on which only the statement failed."""
        connection = self._connection
        is_lost = connection is None or connection.lost
        ours = translate(error, instance=self._instance.name, connection_lost=is_lost)
        if is_lost:
            self.close()
        return ours

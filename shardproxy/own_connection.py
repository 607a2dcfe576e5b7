"""One connection of its own to one instance, for whoever watches it: never the pool's, which may be full.

Kept between questions, made anew after any failure, bounded on this side, so that a frozen server costs its bound.
"""

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from configservice.topology.model import Instance
from shardproxy.connection import DeadlineConnection, open_own_connection
from shardproxy.conninfo import build_connection_parameters, build_place
from shardproxy.errors import InstanceMisconfigured, InstanceUnavailable, ShardProxyError
from shardproxy.session_names import Purpose, name_session
from shardproxy.settings import PoolSettings
from shardproxy.translate import translate


class OwnConnection:
    """Used by one thread at a time."""

    def __init__(self, instance: Instance, settings: PoolSettings, *, purpose: Purpose, address: str = "") -> None:
        """With `address` it connects there; see `shardproxy.conninfo.build_place`."""
        self._instance = instance
        self._settings = settings
        self._purpose = purpose
        self._place = build_place(address)
        self._connection: DeadlineConnection | None = None
        self.was_silent = False
        """Whether the last failure was an attempt to connect that got no answer."""

    def fetch(
        self, statement: str, params: Mapping[str, Any] | None = None, *, timeout_seconds: float
    ) -> list[dict[str, Any]]:
        """Raises ShardProxyError when there is no answer within `timeout_seconds`.

        A first connection may take libpq's own smallest bound, `connect_timeout_seconds`, on top.
        """
        return self._run(statement, params, timeout_seconds=timeout_seconds).fetchall()

    def execute(self, statement: str, *, timeout_seconds: float) -> None:
        """As `fetch`, for a statement that returns no rows; outside any transaction."""
        self._run(statement, None, timeout_seconds=timeout_seconds)

    def fileno(self) -> int | None:
        """The socket while connected. Readable while nothing is asked: the server hung up, or tells of a setting."""
        connection = self._connection
        return None if connection is None or connection.lost else connection.pgconn.socket

    def _run(
        self, statement: str, params: Mapping[str, Any] | None, *, timeout_seconds: float
    ) -> psycopg.Cursor[dict[str, Any]]:
        try:
            connection = self._get_connection()
            connection.deadline_at = time.monotonic() + timeout_seconds
            return connection.execute(statement, params, prepare=False)
        except psycopg.Error as error:
            self.was_silent = isinstance(error, psycopg.errors.ConnectionTimeout)
            raise self._translate(error) from error
        except InstanceMisconfigured as error:
            raise InstanceUnavailable(str(error), instance=self._instance.name) from error

    def is_there(self) -> bool:
        """Whether a server answers at the address that would not have us: too many connections, a wrong password.

        To be asked after a failure. libpq keeps the SQLSTATE of a refused connection to itself; only its ping tells,
        which is not worth the wait where the attempt itself met silence.
        """
        if self.was_silent:
            return False
        conninfo = make_conninfo(
            "",
            host=self._instance.host,
            port=self._instance.port,
            dbname=self._instance.database,
            user=self._instance.user,
            connect_timeout=self._settings.connect_timeout_seconds,
            **self._place,
        )
        return pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get_connection(self) -> DeadlineConnection:
        if self._connection is None or self._connection.has_hung_up():
            self.close()
            self._connection = open_own_connection(**self._build_parameters())
        return self._connection

    def _build_parameters(self) -> dict[str, str | int]:
        parameters = build_connection_parameters(self._instance, self._settings)
        name = name_session(self._settings.application_name, self._purpose)
        return parameters | self._place | {"application_name": name}

    def _translate(self, error: psycopg.Error) -> ShardProxyError:
        """A connection that is lost is closed; one on which a statement failed goes on."""
        connection = self._connection
        is_lost = connection is None or connection.lost
        ours = translate(error, instance=self._instance.name, connection_lost=is_lost)
        if is_lost:
            self.close()
        return ours

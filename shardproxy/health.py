"""One measurement of an instance: does it answer, is it a standby, how far is it behind.

A probe uses a connection of its own, never the pool's: a pool that is full says nothing about the server.
"""

import time
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from configservice.topology import Instance
from shardproxy.connection import DeadlineConnection
from shardproxy.conninfo import build_connection_parameters
from shardproxy.errors import InstanceUnavailable, ShardProxyError, UnreadablePassword
from shardproxy.settings import PoolSettings
from shardproxy.translate import translate

# An idle primary sends no transactions, so the age of the last one says nothing while everything received has been
# replayed and the stream is up. With the stream down it is the only bound there is.
_MEASURE = """
SELECT pg_is_in_recovery() AS in_recovery,
       CASE WHEN NOT pg_is_in_recovery() THEN 0
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                 AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
       END::float8 AS lag_seconds
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """`lag_seconds` is None for a standby that has replayed nothing yet: how old its rows are is unknown."""

    in_recovery: bool
    lag_seconds: float | None


class InstanceProbe:
    """Used by one thread at a time. Keeps its connection between probes; reconnects after any failure."""

    def __init__(self, instance: Instance, settings: PoolSettings) -> None:
        self._instance = instance
        self._settings = settings
        self._connection: DeadlineConnection | None = None

    def measure(self, *, timeout_seconds: float) -> Measurement:
        """Raises ShardProxyError when there is no answer within `timeout_seconds`.

        A first connection may take libpq's own smallest bound, `connect_timeout_seconds`, on top.
        """
        try:
            connection = self._get_connection()
            connection.deadline_at = time.monotonic() + timeout_seconds
            row = connection.execute(_MEASURE, prepare=False).fetchone()
        except psycopg.Error as error:
            raise self._give_up(error) from error
        except UnreadablePassword as error:
            raise InstanceUnavailable(str(error), instance=self._instance.name) from error
        if row is None:
            raise InstanceUnavailable("the probe answered nothing", instance=self._instance.name)
        return Measurement(in_recovery=row["in_recovery"], lag_seconds=row["lag_seconds"])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get_connection(self) -> DeadlineConnection:
        if self._connection is None or self._connection.has_hung_up():
            self.close()
            parameters = build_connection_parameters(self._instance, self._settings)
            parameters["application_name"] = f"{self._settings.application_name}-health"
            self._connection = DeadlineConnection.connect(
                make_conninfo("", **parameters), autocommit=True, row_factory=dict_row
            )
        return self._connection

    def _give_up(self, error: psycopg.Error) -> ShardProxyError:
        connection = self._connection
        ours = translate(error, instance=self._instance.name, connection_lost=connection is None or connection.lost)
        self.close()
        return ours

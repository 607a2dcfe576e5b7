"""One measurement of an instance: does it answer, is it a standby, how far is it behind.

A probe uses a connection of its own, never the pool's: a pool that is full says nothing about the server.
"""

from dataclasses import dataclass

from configservice.topology.model import Instance
from shardproxy.errors import InstanceUnavailable
from shardproxy.own_connection import OwnConnection
from shardproxy.session_names import Purpose
from shardproxy.settings import PoolSettings

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


def measure(connection: OwnConnection, instance: Instance, *, timeout_seconds: float) -> Measurement:
    """Raises ShardProxyError when there is no answer within `timeout_seconds`."""
    rows = connection.fetch(_MEASURE, timeout_seconds=timeout_seconds)
    if not rows:
        raise InstanceUnavailable("the probe answered nothing", instance=instance.name)
    return Measurement(in_recovery=rows[0]["in_recovery"], lag_seconds=rows[0]["lag_seconds"])


class InstanceProbe:
    """Used by one thread at a time. Keeps its connection between probes; reconnects after any failure."""

    def __init__(self, instance: Instance, settings: PoolSettings) -> None:
        self._instance = instance
        self._connection = OwnConnection(instance, settings, purpose=Purpose.HEALTH)

    def measure(self, *, timeout_seconds: float) -> Measurement:
        """Raises ShardProxyError when there is no answer within `timeout_seconds`."""
        return measure(self._connection, self._instance, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        self._connection.close()

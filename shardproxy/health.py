"""Health probe of one instance: whether it answers, whether it is a standby, and its replication lag.

A probe uses a dedicated connection, never one of the pool: a full pool says nothing about the server.
"""

from dataclasses import dataclass

from configservice.topology.model import Instance
from shardproxy.connection import Purpose
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import InstanceUnavailable
from shardproxy.settings import PoolSettings

# An idle primary sends no transactions, so while everything received is replayed and the stream is up, the age of the
# last transaction says nothing. While the stream is down, that age is the only bound of the lag.
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
    """`lag_seconds` is None for a standby that has replayed nothing yet: the age of its rows is unknown."""

    in_recovery: bool
    lag_seconds: float | None


def measure(connection: DedicatedConnection, instance: Instance, *, timeout_seconds: float) -> Measurement:
    """Raises ShardProxyError when there is no answer within `timeout_seconds`."""
    rows = connection.fetch(_MEASURE, timeout_seconds=timeout_seconds)
    if not rows:
        raise InstanceUnavailable("the health probe returned no row", instance=instance.name)
    return Measurement(in_recovery=rows[0]["in_recovery"], lag_seconds=rows[0]["lag_seconds"])


class InstanceProbe:
    """Used by one thread at a time. Keeps its connection between probes; reconnects after any failure."""

    def __init__(self, instance: Instance, settings: PoolSettings) -> None:
        self._instance = instance
        self._connection = DedicatedConnection(instance, settings, purpose=Purpose.HEALTH)

    def measure(self, *, timeout_seconds: float) -> Measurement:
        """Raises ShardProxyError when there is no answer within `timeout_seconds`."""
        return measure(self._connection, self._instance, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        self._connection.close()

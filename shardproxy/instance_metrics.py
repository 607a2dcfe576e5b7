"""Metrics of one server: connections, replication lag, oldest transaction, WAL retained by slots, database size."""

from collections.abc import Mapping
from dataclasses import dataclass

from configservice.topology.model import Instance
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.health import measure

# Connections of all databases count, since they share `max_connections`; walsenders have a limit of their own.
_SESSIONS = """
SELECT count(*) AS connections, current_setting('max_connections')::int AS max_connections,
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS oldest_transaction_seconds,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_SLOTS = """
SELECT slot_name AS slot, greatest(0, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn
))::float8 AS retained_bytes
FROM pg_replication_slots WHERE restart_lsn IS NOT NULL
"""
_SIZE = "SELECT pg_database_size(current_database())::float8 AS database_bytes"


@dataclass(frozen=True, slots=True)
class InstanceMetrics:
    """`lag_seconds` is 0 for a primary, None if unknown. `slot_retained_bytes` is by slot name.

    `sees_sessions`: whether the role may read other roles' sessions; without that right the session reaper ends none.
    """

    in_recovery: bool
    lag_seconds: float | None
    connections: int
    max_connections: int
    oldest_transaction_seconds: float
    slot_retained_bytes: Mapping[str, float]
    sees_sessions: bool


def read_instance_metrics(
    connection: DedicatedConnection, instance: Instance, *, timeout_seconds: float
) -> InstanceMetrics:
    """Raises ShardProxyError. Each of the three statements is bounded by `timeout_seconds`."""
    measured = measure(connection, instance, timeout_seconds=timeout_seconds)
    sessions = connection.fetch(_SESSIONS, timeout_seconds=timeout_seconds)[0]
    slots = connection.fetch(_SLOTS, timeout_seconds=timeout_seconds)
    return InstanceMetrics(
        in_recovery=measured.in_recovery,
        lag_seconds=measured.lag_seconds,
        connections=sessions["connections"],
        max_connections=sessions["max_connections"],
        oldest_transaction_seconds=sessions["oldest_transaction_seconds"],
        slot_retained_bytes={row["slot"]: row["retained_bytes"] for row in slots},
        sees_sessions=sessions["sees_sessions"],
    )


def read_database_bytes(connection: DedicatedConnection, *, timeout_seconds: float) -> float:
    """A call of its own, since the server stats every file of the database. Raises ShardProxyError."""
    return float(connection.fetch(_SIZE, timeout_seconds=timeout_seconds)[0]["database_bytes"])

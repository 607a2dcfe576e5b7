"""What an operator wants to know of a living server: how full, how late, how old, how much WAL is kept for others."""

from collections.abc import Mapping
from dataclasses import dataclass

from configservice.topology.model import Instance
from shardproxy.health import measure
from shardproxy.own_connection import OwnConnection

# Connections of every database count, since they share the limit; walsenders have one of their own.
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
class Vitals:
    """`lag_seconds` is 0 for a primary, None where it cannot be known. Slots by name.

    `sees_sessions` is False when the role may not look at sessions of others: the killer is blind then.
    """

    in_recovery: bool
    lag_seconds: float | None
    connections: int
    max_connections: int
    oldest_transaction_seconds: float
    slot_retained_bytes: Mapping[str, float]
    sees_sessions: bool


def read_vitals(connection: OwnConnection, instance: Instance, *, timeout_seconds: float) -> Vitals:
    """Raises ShardProxyError; each of its three questions has `timeout_seconds`."""
    measured = measure(connection, instance, timeout_seconds=timeout_seconds)
    sessions = connection.fetch(_SESSIONS, timeout_seconds=timeout_seconds)[0]
    slots = connection.fetch(_SLOTS, timeout_seconds=timeout_seconds)
    return Vitals(
        in_recovery=measured.in_recovery,
        lag_seconds=measured.lag_seconds,
        connections=sessions["connections"],
        max_connections=sessions["max_connections"],
        oldest_transaction_seconds=sessions["oldest_transaction_seconds"],
        slot_retained_bytes={row["slot"]: row["retained_bytes"] for row in slots},
        sees_sessions=sessions["sees_sessions"],
    )


def read_database_bytes(connection: OwnConnection, *, timeout_seconds: float) -> float:
    """Reads the size of every file of the database, hence apart. Raises ShardProxyError."""
    return float(connection.fetch(_SIZE, timeout_seconds=timeout_seconds)[0]["database_bytes"])

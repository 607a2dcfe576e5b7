"""Tables of the shards for a benchmark: emptied before, counted and measured afterwards.

By SQL on the primaries: starting a process of the service would take longer than all of this.
"""

from collections import Counter
from typing import Any

from devtools.bench.errors import BenchMiscount
from devtools.bench.usage import list_primaries
from devtools.localcluster import LocalCluster

_PATIENCE = "SET statement_timeout = '300s'"
"""Counting tens of millions of rows takes longer than the timeout of the service."""
_LIST_TABLES = """
    SELECT string_agg(format('%%I', tablename), ', ') FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> ALL(%s)
"""
_KEPT_TABLES = ["django_migrations", "shard_identity", "event_type", "partition_state"]
_FORGET_POSITIONS = """
    UPDATE partition_state SET position = DEFAULT, watermark = DEFAULT, rolled_through = DEFAULT,
        admits_since = DEFAULT, minutes_since = DEFAULT, hours_since = DEFAULT, raw_since = DEFAULT,
        generation = DEFAULT, window_started_at = DEFAULT, window_read = DEFAULT, window_dead = DEFAULT
"""
_COUNT_EVENTS = """
    SELECT (SELECT count(*) FROM raw_event) AS raw_event,
        (SELECT coalesce(sum(octet_length(ids) / 16), 0)::bigint FROM event_ids) AS event_ids,
        (SELECT coalesce(sum(count), 0)::bigint FROM event_minute) AS event_minute,
        (SELECT coalesce(sum(count), 0)::bigint FROM event_total) AS event_total,
        (SELECT coalesce(sum(counted), 0)::bigint FROM ledger) AS ledger
"""
_MEASURE_SIZES = """
    SELECT (SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('raw_event')) AS raw_bytes,
        pg_total_relation_size('event_ids') AS id_bytes,
        pg_total_relation_size('event_minute') AS minute_bytes,
        (SELECT count(*) FROM event_minute) AS minute_rows,
        pg_total_relation_size('event_total') AS total_bytes,
        (SELECT count(*) FROM event_total) AS total_rows,
        pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal_bytes
"""


def empty_shards(cluster: LocalCluster) -> None:
    """Delete all events; topology, schema and event types are kept. Raises NotReady."""
    for primary in list_primaries(cluster):
        with primary.session() as connection:
            [(tables,)] = connection.execute(_LIST_TABLES, (_KEPT_TABLES,)).fetchall()
            connection.execute(f"TRUNCATE {tables}".encode())
            connection.execute(_FORGET_POSITIONS)


def check_committed(cluster: LocalCluster, event_count: int) -> dict[str, int]:
    """Number of events on the shards, by table. Raises BenchMiscount unless each holds every event once, NotReady."""
    committed = _add_up(cluster, _COUNT_EVENTS)
    if set(committed.values()) != {event_count}:
        raise BenchMiscount(f"of {event_count} events the shards hold: {committed}")
    return committed


def measure_sizes(cluster: LocalCluster) -> dict[str, int]:
    """Bytes and rows of tables with their indexes, and bytes of WAL ever written, of all primaries. Raises NotReady."""
    return _add_up(cluster, _MEASURE_SIZES)


def _add_up(cluster: LocalCluster, question: str) -> dict[str, int]:
    """One row of numbers from each primary."""
    found: Counter[str] = Counter()
    for primary in list_primaries(cluster):
        with primary.session() as connection:
            connection.execute(_PATIENCE)
            cursor: Any = connection.execute(question.encode())
            [row] = cursor.fetchall()
            found.update(dict(zip([column.name for column in cursor.description], row, strict=True)))
    return dict(found)

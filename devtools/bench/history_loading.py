"""Loads a `History` into the shards of a cluster by SQL, as if it had been counted there."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, LiteralString

import numpy as np

from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from devtools.bench.event_stream import VIDEOS
from devtools.bench.history import History, Rows
from devtools.bench.usage import list_primaries
from devtools.localcluster import LocalCluster
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.waiting import Waiter
from viewcounter.storage.binary import bigints, smallints, texts, texts_at, timestamps

CHUNK_ROWS = 50_000
REPLAY_SECONDS = 300.0
_MINUTE_US = 60_000_000
_OWNED = "SELECT partition FROM partition_state WHERE state = 'owned'"
_ADD_TYPES = """
    INSERT INTO event_type (id, name) SELECT * FROM unnest(%(ids)s::smallint[], %(names)s::text[])
    ON CONFLICT DO NOTHING
"""
_ADD_VIDEOS = """
    INSERT INTO video (video_id, partition) SELECT * FROM unnest(%(video_ids)s::text[], %(partitions)s::smallint[])
"""
_COLUMNS: LiteralString = """
    SELECT * FROM unnest(%(partitions)s::smallint[], %(video_ids)s::text[], %(types)s::smallint[],
        %(starts)s::timestamptz[], %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[])
"""
_ADD_TOTALS = """
    INSERT INTO event_total (partition, video_id, event_type_id, count, sum, min, max)
    SELECT * FROM unnest(%(partitions)s::smallint[], %(video_ids)s::text[], %(types)s::smallint[],
        %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[])
"""
_SET_HORIZONS = """
    UPDATE partition_state SET watermark = %(watermark)s, rolled_through = %(rolled_through)s,
        admits_since = %(admits_since)s, minutes_since = %(minutes_since)s, hours_since = %(hours_since)s
    WHERE state = 'owned'
"""
_WAITING = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn IS NULL OR replay_lsn < %(written)s"
_LIST_INDEXES = """
    SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, pg_get_constraintdef(c.oid),
        pg_get_indexdef(i.indexrelid)
    FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
    WHERE i.indrelid = %(table)s::regclass
"""
_TIERS = ("event_day", "event_hour", "event_minute")
_TABLES = ("video", "event_total", *_TIERS)


def load_history(cluster: LocalCluster, history: History, *, on_rows: Callable[[int], None]) -> None:
    """Load into empty shards, and wait until every replica has it. `on_rows` gets the number of new rows, from any
    thread. Raises LocalClusterError."""
    primaries = list_primaries(cluster)
    with ThreadPoolExecutor(len(primaries)) as pool:
        for loading in [pool.submit(_load_shard, primary, history, on_rows) for primary in primaries]:
            loading.result()


def count_rows(history: History) -> int:
    return sum(len(rows) for rows in (history.minutes, history.hours, history.days, history.totals))


def _load_shard(primary: PostgresServer, history: History, on_rows: Callable[[int], None]) -> None:
    with primary.session() as connection:
        connection.execute("SET statement_timeout = '300s'")
        connection.execute("SET synchronous_commit = off")
        partitions = [int(row[0]) for row in connection.execute(_OWNED).fetchall()]
        types = sorted(DEFAULT_EVENT_TYPES, key=lambda event_type: event_type.id)
        connection.execute(
            _ADD_TYPES,
            {"ids": smallints(np.array([t.id for t in types])), "names": texts([t.name for t in types])},
        )
        totals = history.totals.choose_partitions(partitions)
        videos, places = np.unique(totals.videos, return_index=True)
        connection.execute(
            _ADD_VIDEOS,
            {"video_ids": texts_at([(VIDEOS, videos)]), "partitions": smallints(totals.partitions[places])},
        )
        tiers: tuple[tuple[LiteralString, Rows], ...] = (
            (_ADD_TOTALS, history.totals),
            (f"INSERT INTO event_day {_COLUMNS}", history.days),
            (f"INSERT INTO event_hour {_COLUMNS}", history.hours),
            (f"INSERT INTO event_minute {_COLUMNS}", history.minutes),
        )
        with _without_indexes(connection):
            for statement, rows in tiers:
                for chunk in _split(rows.choose_partitions(partitions).order_by_start()):
                    connection.execute(statement, _build_parameters(chunk))
                    on_rows(len(chunk))
        connection.execute(_SET_HORIZONS, asdict(history.horizons))
        for table in _TABLES:
            connection.execute(f"VACUUM (ANALYZE) {table}")  # as autovacuum would, at some time during a measurement
        _await_replicas(primary, connection)


@contextmanager
def _without_indexes(connection: Any) -> Iterator[None]:
    """Drop the indexes of the tiers and rebuild them at the end, which is several times as fast."""
    found = [row for table in _TIERS for row in connection.execute(_LIST_INDEXES, {"table": table}).fetchall()]
    for table, name, constraint, _ in found:
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}" if constraint else f"DROP INDEX {name}"
        connection.execute(drop)
    try:
        yield
    finally:
        for table, name, constraint, definition in found:
            connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {constraint}" if constraint else definition)


def _await_replicas(primary: PostgresServer, connection: Any) -> None:
    """Raises NotReady."""
    [(written,)] = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchall()

    def find_obstacle() -> str | None:
        [(waiting,)] = connection.execute(_WAITING, {"written": written}).fetchall()
        return f"{waiting} replicas are behind" if waiting else None

    Waiter().wait_until(find_obstacle, what=f"the copy of {primary.name}", within_seconds=REPLAY_SECONDS)


def _split(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows.select(slice(start, start + CHUNK_ROWS))


def _build_parameters(rows: Rows) -> dict[str, Any]:
    return {
        "partitions": smallints(rows.partitions),
        "video_ids": texts_at([(VIDEOS, rows.videos)]),
        "types": smallints(rows.types),
        "starts": timestamps(rows.starts * _MINUTE_US),
        "counts": bigints(rows.counts),
        "sums": bigints(rows.sums),
        "mins": bigints(rows.mins),
        "maxs": bigints(rows.maxs),
    }

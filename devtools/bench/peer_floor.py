"""The lower bound of counting into PostgreSQL: one psycopg connection, binary COPY and one upsert, in sequence.

No HTTP, no JSON, no log, no de-duplication: events are in memory as columns when the clock starts.
"""

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg

from devtools.bench.event_stream import EventStream, build_columns
from viewcounter.events.columns import Columns
from viewcounter.storage.binary import bigints, copy_rows, smallints, texts_at

_TABLES = """
    CREATE TABLE IF NOT EXISTS floor_event (
        partition smallint NOT NULL, event_type_id smallint NOT NULL, received_at timestamptz NOT NULL,
        occurred_at timestamptz NOT NULL, value bigint NOT NULL, viewer bigint NOT NULL, event_id uuid NOT NULL,
        video_id text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS floor_count (
        video_id text, event_type_id smallint, count bigint NOT NULL, sum bigint NOT NULL,
        PRIMARY KEY (video_id, event_type_id)
    )
"""
_COPY = """
    COPY floor_event (partition, event_type_id, received_at, occurred_at, value, viewer, event_id, video_id)
    FROM STDIN (FORMAT BINARY)
"""
_ADD = """
    INSERT INTO floor_count AS t (video_id, event_type_id, count, sum)
    SELECT * FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(counts)s::bigint[], %(sums)s::bigint[])
    ON CONFLICT (video_id, event_type_id) DO UPDATE SET count = t.count + excluded.count, sum = t.sum + excluded.sum
"""


class Floor:
    """Writes by an autocommit connection to the database of the peers. `seconds` and `cpu_seconds`: of storing, not of
    generating events."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._connection.execute(_TABLES)
        self.start_over()

    def start_over(self) -> None:
        """Reset the figures; stored events are kept."""
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.latencies: list[float] = []

    def close(self) -> None:
        self._connection.close()

    def store(self, stream: EventStream, *, batch_size: int) -> None:
        """The next batch, committed."""
        now = datetime.now(UTC)
        columns = build_columns(stream.take(batch_size, now=now), received_us=int(now.timestamp() * 1_000_000))
        started_at, cpu_before = time.perf_counter(), time.process_time()
        with self._connection.transaction():
            with self._connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write(copy_rows([(columns, 0)]))
            self._connection.execute(_ADD, _group(columns))
        elapsed = time.perf_counter() - started_at
        self.seconds += elapsed
        self.cpu_seconds += time.process_time() - cpu_before
        self.latencies.append(elapsed)

    def count(self) -> int:
        [row] = self._connection.execute("SELECT coalesce(sum(count), 0)::bigint FROM floor_count").fetchall()
        return int(row[0])


def _group(columns: Columns) -> dict[str, Any]:
    """Parameters of the upsert, by key in order."""
    keys = columns.video_index.astype(np.int64) * 2**16 + columns.type_ids
    distinct, group = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(sums, group, columns.values)
    return {
        "video_ids": texts_at([(columns.videos, distinct // 2**16)]),
        "type_ids": smallints(distinct % 2**16),
        "counts": bigints(np.bincount(group)),
        "sums": bigints(sums),
    }

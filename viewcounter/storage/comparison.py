"""Counts and digests of a partition's rows on one shard, independent of the order of rows.

Both sides of a move are read with the same functions, each in one snapshot, at the same position: a correct copy has
equal digests. Hashes of rows are PostgreSQL's own, the same on every server of a platform.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from viewcounter.events.columns import digest_ids
from viewcounter.storage.copying import list_columns
from viewcounter.storage.moved_tables import EVENT_IDS, RAW_EVENT, MovedTable
from viewcounter.storage.named_sql import load_queries

_IDS_AT_ONCE = 50_000

READ_SIZES = load_queries("moves.sql")["read_sizes"]
"""Parameters: partitions. A row each: partition, event_count."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Digest:
    """`row_count` rows and the sum of their hashes; for `event_ids`, ids instead of rows."""

    row_count: int
    digest: int


@dataclass(frozen=True, slots=True)
class CompareRules:
    """Raw events received before `raw_since` are not compared; in tables of which only copied rows are compared, nor
    are rows written after `copied_at` (`term-seq`)."""

    raw_since: datetime
    copied_at: str


def digest_table(connection: Connection, table: MovedTable, *, partition: int, rules: CompareRules) -> Digest:
    """Digest of the columns that must be equal."""
    if table is EVENT_IDS:
        return digest_stored_ids(connection, partition=partition)
    columns = [name for name in list_columns(connection, table) if name not in table.not_compared]
    condition: sql.Composable = sql.SQL("")
    if table is RAW_EVENT:
        condition = sql.SQL(" AND received_at >= {}").format(sql.Literal(rules.raw_since))
    if table.copied_rows_only:
        condition = sql.SQL(
            " AND (split_part(position, '-', 1)::numeric, split_part(position, '-', 2)::numeric) <= ({}, {})"
        ).format(*map(sql.Literal, map(int, rules.copied_at.split("-"))))
    statement = sql.SQL(
        "SELECT count(*) AS row_count, coalesce(sum(hash_record_extended(r, 0)), 0) AS digest"
        " FROM (SELECT {} FROM {} WHERE partition = %s{}) AS r"
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table.name), condition)
    row = connection.execute(statement, (partition,)).fetchone()
    return Digest(row["row_count"], int(row["digest"])) if row is not None else Digest(0, 0)


def digest_stored_ids(connection: Connection, *, partition: int) -> Digest:
    """Digest of ids with their contents and minutes, in whichever rows flushes stored them. In bounded memory."""
    count = digest = 0
    for minutes, ids, contents in _read_stored_ids(connection, partition=partition):
        count += len(ids)
        hashes = (digest_ids(ids) | np.uint64(1)) * (contents ^ minutes)
        digest = (digest + int(hashes.sum(dtype=np.uint64))) % 2**64
    return Digest(count, digest)


def _read_stored_ids(
    connection: Connection, *, partition: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[Any], NDArray[np.uint64]]]:
    """Minute, id and content of each id, in arrays of about _IDS_AT_ONCE."""
    statement = sql.SQL(
        "SELECT extract(epoch FROM minute)::bigint AS minute, ids, contents FROM event_ids WHERE partition = {}"
    ).format(sql.Literal(partition))
    rows: list[dict[str, Any]] = []
    size = 0
    with connection.cursor(binary=True) as cursor:
        for row in cursor.stream(statement):
            rows.append(row)
            size += len(row["ids"]) // 16
            if size >= _IDS_AT_ONCE:
                yield _join(rows)
                rows, size = [], 0
    if rows:
        yield _join(rows)


def _join(rows: list[dict[str, Any]]) -> tuple[NDArray[np.uint64], NDArray[Any], NDArray[np.uint64]]:
    ids = np.frombuffer(b"".join(row["ids"] for row in rows), dtype="S16")
    contents = np.frombuffer(b"".join(row["contents"] for row in rows), dtype="<u8")
    minutes = np.repeat(
        np.array([row["minute"] for row in rows], dtype=np.int64).astype(np.uint64),
        [len(row["ids"]) // 16 for row in rows],
    )
    return minutes, ids, contents

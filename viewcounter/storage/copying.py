"""Copies the rows of one partition from shard to shard, and deletes them, in blocks of one transaction each.

The source is read in one snapshot, by COPY, whose rows are passed on binary and unparsed. Messages of
COPY TO STDOUT hold one row each (https://www.postgresql.org/docs/18/protocol-message-formats.html, CopyData).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from viewcounter.storage.catalogue import CatalogueCopies, ChannelCopy, write_copies
from viewcounter.storage.moved_tables import MovedTable
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("moves.sql")
_FLUSH_SQL = load_queries("flush.sql")
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_CHANNELS_AT_ONCE = 1000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one table in COPY's binary format, without header and trailer."""

    rows: bytes
    row_count: int


def list_columns(connection: Connection, table: MovedTable) -> list[str]:
    return [row["name"] for row in connection.execute(_SQL["list_columns"].text, {"table": table.name})]


def count_rows(connection: Connection, tables: Sequence[MovedTable], *, partition: int) -> int:
    counts = (
        connection.execute(
            sql.SQL("SELECT count(*) AS row_count FROM {} WHERE partition = %s").format(sql.Identifier(table.name)),
            (partition,),
        ).fetchone()
        for table in tables
    )
    return sum(row["row_count"] for row in counts if row is not None)


def estimate_raw_rows(connection: Connection, *, partition: int, since: datetime) -> int:
    row = connection.execute(_SQL["estimate_raw_rows"].text, {"partition": partition, "since": since}).fetchone()
    return row["row_count"] if row is not None else 0


def read_blocks(
    connection: Connection, table: MovedTable, columns: Sequence[str], *, partition: int, block_bytes: int
) -> Iterator[Block]:
    """Reads in the caller's snapshot. The server waits while the caller processes a block."""
    statement = sql.SQL("COPY (SELECT {} FROM {} WHERE partition = {}{}) TO STDOUT (FORMAT BINARY)").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(table.name),
        sql.Literal(partition),
        sql.SQL("" if table.order_by is None else " ORDER BY {}").format(sql.Identifier(table.order_by or "")),
    )
    rows: list[bytes] = []
    size = 0
    header_left = len(_HEADER)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for message in copy:
            row = bytes(message)[header_left:]
            header_left = 0
            if not row or row == _TRAILER:
                continue
            rows.append(row)
            size += len(row)
            if size >= block_bytes:
                yield Block(b"".join(rows), len(rows))
                rows, size = [], 0
    if rows:
        yield Block(b"".join(rows), len(rows))


def write_block(connection: Connection, table: MovedTable, columns: Sequence[str], block: Block) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER + block.rows + _TRAILER)


def read_channels(connection: Connection, *, partition: int) -> Iterator[list[ChannelCopy]]:
    """The channels of the partition's videos, in batches."""
    after = ""
    while True:
        parameters = {"partition": partition, "after": after, "limit": _CHANNELS_AT_ONCE}
        rows = connection.execute(_SQL["read_channels"].text, parameters).fetchall()
        if rows:
            yield [ChannelCopy(row["channel_id"], row["title"], row["revision"]) for row in rows]
        if len(rows) < _CHANNELS_AT_ONCE:
            return
        after = rows[-1]["channel_id"]


def write_channels(connection: Connection, channels: Sequence[ChannelCopy]) -> None:
    """Inserts missing channels only: the catalogue sync of the shard updates existing ones."""
    write_copies(connection, CatalogueCopies(channels=channels, videos=()))


def read_event_types(connection: Connection) -> dict[int, str]:
    return {row["id"]: row["name"] for row in connection.execute(_SQL["read_event_types"].text)}


def ensure_event_types(connection: Connection, types: dict[int, str]) -> None:
    ids = sorted(types)  # as a flush writes them
    connection.execute(_FLUSH_SQL["ensure_event_types"].text, {"ids": ids, "names": [types[each] for each in ids]})


def list_relations(connection: Connection, table: MovedTable) -> dict[str, int]:
    """Number of pages of each table that holds the rows, by name; several tables for raw events."""
    return {
        row["name"]: row["page_count"] for row in connection.execute(_SQL["list_relations"].text, {"table": table.name})
    }


def has_rows(connection: Connection, relation: str, *, partition: int) -> bool:
    statement = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE partition = %s) AS found").format(sql.Identifier(relation))
    row = connection.execute(statement, (partition,)).fetchone()
    return bool(row is not None and row["found"])


def delete_pages(connection: Connection, relation: str, *, partition: int, first: int, page_count: int) -> int:
    """Delete the partition's rows in some pages of a table. Returns their number.

    By page, which bounds the work of a transaction whichever other rows the pages hold; `+ 0` keeps the planner from
    reading the whole partition by an index for each range of pages.
    """
    statement = sql.SQL("DELETE FROM {} WHERE partition + 0 = %s AND ctid >= %s::tid AND ctid < %s::tid").format(
        sql.Identifier(relation)
    )
    return connection.execute(statement, (partition, f"({first},0)", f"({first + page_count},0)")).rowcount

"""PostgreSQL's binary formats from numpy arrays: COPY rows and array parameters.

Adapting Python lists item by item costs more than the statement that takes them; writing the bytes with numpy costs a
few nanoseconds an item. Formats: https://www.postgresql.org/docs/18/sql-copy.html (Binary Format)
and `array_send` in src/backend/utils/adt/arrayfuncs.c.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from viewcounter.events.columns import Columns

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01, the epoch of timestamptz, in microseconds since 1970."""

_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_COPY_TRAILER = struct.pack(">h", -1)
_RAW_EVENT_FIELDS = 8


@dataclass(frozen=True, slots=True)
class BinaryArray:
    """A one-dimensional array parameter, already in the wire format. Build it with the functions below."""

    data: bytes


class SmallintArray(BinaryArray):
    element_oid, oid = 21, 1005


class BigintArray(BinaryArray):
    element_oid, oid = 20, 1016


class TimestamptzArray(BinaryArray):
    element_oid, oid = 1184, 1185


class TextArray(BinaryArray):
    element_oid, oid = 25, 1009


class ByteaArray(BinaryArray):
    element_oid, oid = 17, 1001


class UuidArray(BinaryArray):
    element_oid, oid = 2950, 2951


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj.data


def _register(array_type: type[BinaryArray], oid: int) -> None:
    dumper = type(f"{array_type.__name__}Dumper", (_BinaryArrayDumper,), {"oid": oid})
    psycopg.adapters.register_dumper(array_type, dumper)


for _array_type in (SmallintArray, BigintArray, TimestamptzArray, TextArray, ByteaArray, UuidArray):
    _register(_array_type, _array_type.oid)


def smallints(values: NDArray[Any]) -> SmallintArray:
    return SmallintArray(_fixed_width(values, SmallintArray.element_oid, ">i2"))


def bigints(values: NDArray[Any]) -> BigintArray:
    return BigintArray(_fixed_width(values, BigintArray.element_oid, ">i8"))


def timestamps(microseconds: NDArray[np.int64]) -> TimestamptzArray:
    """From microseconds since 1970 UTC."""
    return TimestamptzArray(_fixed_width(microseconds - POSTGRES_EPOCH_US, TimestamptzArray.element_oid, ">i8"))


def uuids(ids: NDArray[Any]) -> UuidArray:
    """From an S16 array."""
    return UuidArray(_fixed_width(ids, UuidArray.element_oid, "S16"))


def texts(values: Iterable[str]) -> TextArray:
    return TextArray(_variable_width([v.encode() for v in values], TextArray.element_oid))


def texts_at(parts: Iterable[tuple[Sequence[str], NDArray[Any]]]) -> TextArray:
    """`values[i]` for each i of `index`, of all pairs (values, index) in turn; each value is encoded once."""
    found: list[bytes] = []
    for values, index in parts:
        items = _encode_texts(tuple(values))
        found += [items[i] for i in index.tolist()]
    return TextArray(_array_header(len(found), TextArray.element_oid) + b"".join(found))


@lru_cache(maxsize=64)
def _encode_texts(values: tuple[str, ...]) -> list[bytes]:
    """Items of a text array. The statements of a flush name the same videos."""
    return [len(text).to_bytes(4, "big") + text for text in map(str.encode, values)]


def byteas(values: Sequence[bytes]) -> ByteaArray:
    return ByteaArray(_variable_width(values, ByteaArray.element_oid))


def copy_rows(parts: Iterable[tuple[Columns, int]]) -> bytes:
    """The whole binary COPY stream for `copy_raw_events`: the events of each part are of its partition."""
    rows = (block for columns, partition in parts for block in _copy_rows_of_partition(columns, partition))
    return b"".join([_COPY_HEADER, *rows, _COPY_TRAILER])


def _copy_rows_of_partition(columns: Columns, partition: int) -> Iterator[bytes]:
    """Rows of equal length are written by one structured array, so there is one array for each distinct length of a
    video id: one for most catalogues."""
    videos = [v.encode() for v in columns.videos]
    lengths = np.array([len(v) for v in videos], dtype=np.intp)
    row_lengths = lengths[columns.video_index]
    for length in np.flatnonzero(np.bincount(row_lengths)).tolist():
        of_length = np.flatnonzero(lengths == length)
        names = np.zeros(len(videos), dtype=f"S{length}")
        names[of_length] = [videos[i] for i in of_length.tolist()]
        rows = columns.select(row_lengths == length)
        yield _copy_rows_of_length(rows, names[rows.video_index], partition=partition)


def _copy_rows_of_length(rows: Columns, video_ids: NDArray[Any], *, partition: int) -> bytes:
    fields = [
        ("partition", ">i2", partition),
        ("event_type_id", ">i2", rows.type_ids),
        ("received_at", ">i8", rows.received_us - POSTGRES_EPOCH_US),
        ("occurred_at", ">i8", rows.occurred_us - POSTGRES_EPOCH_US),
        ("value", ">i8", rows.values),
        ("viewer", ">i8", rows.viewers),
        ("event_id", "S16", rows.event_ids),
        ("video_id", video_ids.dtype, video_ids),
    ]
    layout: list[tuple[str, Any]] = [("field_count", ">i2")]
    for name, dtype, _ in fields:
        layout += [(f"{name}_length", ">i4"), (name, dtype)]
    table = _repeat_row(_build_row(layout), len(rows))
    for name, _, values in fields:
        table[name] = values
    return table.tobytes()


def _build_row(layout: list[tuple[str, Any]]) -> NDArray[Any]:
    """One row of `layout` with its lengths but without values."""
    row = np.zeros(1, dtype=layout)
    row["field_count"] = _RAW_EVENT_FIELDS
    for name, dtype in layout[2::2]:
        row[f"{name}_length"] = np.dtype(dtype).itemsize
    return row


def _repeat_row(row: NDArray[Any], count: int) -> NDArray[Any]:
    """Repeated as bytes, which is several times faster than field by field."""
    table = np.empty(count, dtype=row.dtype)
    table.view(np.uint8).reshape(count, row.itemsize)[:] = row.view(np.uint8)
    return table


def _array_header(count: int, element_oid: int) -> bytes:
    """Dimensions, no NULLs, element type, length, lower bound 1."""
    if count == 0:
        return struct.pack(">iii", 0, 0, element_oid)
    return struct.pack(">iiiii", 1, 0, element_oid, count, 1)


def _fixed_width(values: NDArray[Any], element_oid: int, dtype: str) -> bytes:
    table = np.zeros(len(values), dtype=[("length", ">i4"), ("value", dtype)])
    table["length"] = np.dtype(dtype).itemsize
    table["value"] = values
    return _array_header(len(values), element_oid) + table.tobytes()


def _variable_width(values: Iterable[bytes], element_oid: int) -> bytes:
    items = [_prefix_length(value) for value in values]
    return _array_header(len(items), element_oid) + b"".join(items)


def _prefix_length(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value

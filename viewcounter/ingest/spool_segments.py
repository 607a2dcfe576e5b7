"""The files of a spool: records in the order they were written.

A record begins with a magic number of four bytes, the length and the xxh3_64 of its body, and a check sum of these; the
body is a MessagePack map of packed entries by partition. So a reader can distinguish a complete record; one that a
crash truncated at the end of a file, which was never acknowledged; and a damaged one, after which it finds the next. A
file with a damaged record is never removed: it is kept under another suffix. Records of the previous release began with
length and digest only; they are read, too.
"""

import logging
import os
import struct
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec
import xxhash

from runtime.metrics import SPOOL_DAMAGED_RECORDS

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 1024 * 1024
SPOOLED, REFUSED, DAMAGED = ".spool", ".refused", ".damaged"
_MAGIC = b"vcS2"
_SUMS = struct.Struct("<IQ")
"""Length of the body, xxh3_64 of it."""
_CHECK = struct.Struct("<I")
_HEADER_BYTES = len(_MAGIC) + _SUMS.size + _CHECK.size
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[int, bytes])

Group = dict[int, bytes]
"""Packed entries by partition."""


class _Cut(NamedTuple):
    """The file ends within the record."""


class _Damage(NamedTuple):
    """`end`: end of the record if its length is right; None: unknown."""

    end: int | None


class _Record(NamedTuple):
    group: Group
    end: int


def pack_record(group: Mapping[int, bytes]) -> bytes:
    body = _encoder.encode(dict(group))
    head = _MAGIC + _SUMS.pack(len(body), xxhash.xxh3_64_intdigest(body))
    return head + _CHECK.pack(xxhash.xxh32_intdigest(head)) + body


class SegmentQueue:
    """The files of one folder with one prefix and suffix. Used by one thread at a time.

    Invariant: `_segments` ascend in age; all but the last are complete, and only the first is being read.
    """

    def __init__(self, folder: Path, *, prefix: str = "", suffix: str = SPOOLED) -> None:
        self._folder = folder
        self._prefix = prefix
        self._suffix = suffix
        self._segments = sorted(folder.glob(f"{prefix}[0-9]*{suffix}"))
        self._bytes = sum(segment.stat().st_size for segment in self._segments)
        kept_aside = folder.glob(f"{prefix}[0-9]*{DAMAGED}")  # their names stay theirs
        self._next_number = max((_get_number(s) + 1 for s in (*self._segments, *kept_aside)), default=0)
        self._writing: FileIO | None = None
        self._reader: _SegmentReader | None = None
        self._head: Group | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes on disk; a segment counts until all of it has been removed."""
        return self._bytes

    def append(self, record: bytes) -> None:
        """Durable when this returns. Raises OSError; then the record is not in the queue."""
        file = self._get_writable()
        start = os.fstat(file.fileno()).st_size
        try:
            _write_all(file, record)
            os.fdatasync(file.fileno())
        except OSError:
            self._end_segment()
            # Not acknowledged, so it must not be read. If the truncation fails, too, the check sum reveals it.
            os.truncate(self._segments[-1], start)
            raise
        self._bytes += len(record)
        if start + len(record) >= SEGMENT_BYTES:
            self._end_segment()

    def find_oldest(self) -> Group | None:
        """The oldest group, until `remove_oldest`; None when the queue is empty."""
        while self._head is None and self._segments:
            if self._reader is None:
                self._reader = _SegmentReader(self._segments[0])
            self._head = self._reader.read_next()
            if self._head is None:
                self._remove_segment(self._reader)
        return self._head

    def drop_from_oldest(self, partitions: set[int]) -> None:
        """Drop these entries of the oldest group; the group is removed with the last one."""
        if self._head is not None:
            self._head = {p: payload for p, payload in self._head.items() if p not in partitions} or None

    def adopt(self, segments: list[Path]) -> None:
        """Take over files of another queue, behind our own."""
        self._end_segment()
        for segment in segments:
            mine = self._name_next()
            segment.rename(mine)
            self._segments.append(mine)
            self._bytes += mine.stat().st_size

    def close(self) -> None:
        self._end_segment()
        if self._reader is not None:
            self._reader.close()

    def _get_writable(self) -> FileIO:
        if self._writing is None:
            segment = self._name_next()
            self._writing = segment.open("ab", buffering=0)
            self._segments.append(segment)
            sync_folder(self._folder)
        return self._writing

    def _name_next(self) -> Path:
        name = self._folder / f"{self._prefix}{self._next_number:012d}{self._suffix}"
        self._next_number += 1
        return name

    def _end_segment(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _remove_segment(self, reader: "_SegmentReader") -> None:
        """All of its readable records have been delivered."""
        segment = self._segments.pop(0)
        reader.close()
        self._reader = None
        if not self._segments:
            self._end_segment()
        self._bytes -= segment.stat().st_size
        if reader.is_damaged:
            kept = segment.rename(segment.with_suffix(DAMAGED))
            sync_folder(self._folder)
            logger.error("%s has damaged records and is kept as %s", segment, kept.name)
        else:
            segment.unlink()


class _SegmentReader:
    """Reads one file forward, also while it is being written. `is_damaged`: a record could not be read."""

    def __init__(self, path: Path) -> None:
        self.is_damaged = False
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._at = 0

    def read_next(self) -> Group | None:
        """None at the end of the file."""
        while True:
            rest = os.fstat(self._file.fileno()).st_size - self._at
            if rest <= 0:
                return None
            found = self._parse(self._at, rest)
            if isinstance(found, _Record):
                self._at = found.end
                return found.group
            if isinstance(found, _Cut):
                logger.warning("%s ends within a record: a crash truncated it, it was never acknowledged", self._path)
                return None
            self._skip(found, rest)

    def close(self) -> None:
        self._file.close()

    def _parse(self, at: int, rest: int) -> _Record | _Cut | _Damage:
        head = self._read(at, _HEADER_BYTES)
        if not _MAGIC.startswith(head[: len(_MAGIC)]):
            return self._parse_unmarked(at, head, rest)
        if len(head) < _HEADER_BYTES:
            return _Cut()
        (check,) = _CHECK.unpack_from(head, _HEADER_BYTES - _CHECK.size)
        if xxhash.xxh32_intdigest(head[: -_CHECK.size]) != check:
            return _Damage(None)
        length, digest = _SUMS.unpack_from(head, len(_MAGIC))
        if length > rest - _HEADER_BYTES:
            return _Cut()
        return self._parse_body(at + _HEADER_BYTES, length, digest)

    def _parse_unmarked(self, at: int, head: bytes, rest: int) -> _Record | _Cut | _Damage:
        """A record of the previous release, or damage where a record should begin."""
        if len(head) < _SUMS.size:
            return _Cut()
        length, digest = _SUMS.unpack_from(head)
        if length > rest - _SUMS.size:
            return _Damage(None)
        return self._parse_body(at + _SUMS.size, length, digest)

    def _parse_body(self, at: int, length: int, digest: int) -> _Record | _Damage:
        body = self._read(at, length)
        if xxhash.xxh3_64_intdigest(body) == digest:
            try:
                return _Record(_decoder.decode(body), at + length)
            except msgspec.DecodeError:
                logger.exception("%s has a record at byte %d that this release cannot read", self._path, at)
        return _Damage(at + length)

    def _skip(self, damage: _Damage, rest: int) -> None:
        """Skip to the next complete record, or to the end."""
        began_at, end = self._at, self._at + rest
        data = self._read(began_at, rest)
        starts = [] if damage.end is None else [damage.end]
        place = data.find(_MAGIC, 1)
        while place >= 0:
            starts.append(began_at + place)
            place = data.find(_MAGIC, place + 1)
        whole = (s for s in sorted(set(starts)) if s < end and not isinstance(self._parse(s, end - s), _Damage))
        self._at = next(whole, end)
        self.is_damaged = True
        SPOOL_DAMAGED_RECORDS.inc()
        logger.error(
            "%s is damaged from byte %d to %d: the events in there are not delivered", self._path, began_at, self._at
        )

    def _read(self, at: int, count: int) -> bytes:
        """Fewer bytes at the end of the file."""
        parts = []
        while count > 0 and (part := os.pread(self._file.fileno(), count, at)):
            parts.append(part)
            at += len(part)
            count -= len(part)
        return b"".join(parts)


def _write_all(file: FileIO, record: bytes) -> None:
    """Writes all of the data: a disk that fills up accepts only a part."""
    rest = memoryview(record)
    while rest:
        rest = rest[file.write(rest) :]


def _get_number(segment: Path) -> int:
    return int(segment.stem.rpartition("-")[2])


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

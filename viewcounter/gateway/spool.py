"""Groups of entries on the gateway's own disk while the event log takes none: fsynced, bounded, in order.

A spool is a folder of segments, files of records; each record is one group that a commit would have appended. It is
read in the order it was written, and a segment goes when the log has all of it. A crash in between sends a segment
twice: event ids make that harmless. A record cut short by a crash was never acknowledged and is skipped.

Folders (`slots`) below the spool directory belong to one process each, by a lock that dies with it. Whoever finds a
slot without an owner takes its segments over.
"""

import contextlib
import fcntl
import logging
import os
import struct
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import msgspec
import xxhash

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 1024 * 1024
MAX_SLOTS = 256
_HEADER = struct.Struct("<IQ")
"""Length of the body, xxh3_64 of it."""
_SUFFIX = ".spool"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[int, bytes])

Group = dict[int, bytes]
"""Packed entries by partition."""


class SpoolFull(OSError):
    """The spool has reached its bound; what comes now is refused."""


class Spool:
    """One process's slot. Used by one thread at a time.

    Invariant: `_segments` ascend in age; all but the last are complete, and only the first is being read.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Takes the first slot that is free, with whatever a dead process has left there. Raises OSError."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._slot, self._lock = _claim_slot(directory)
        self._segments = _list_segments(self._slot)
        self._bytes = sum(segment.stat().st_size for segment in self._segments)
        self._next_number = _get_number(self._segments[-1]) + 1 if self._segments else 0
        self._writing: FileIO | None = None
        self._reading: BinaryIO | None = None
        self._head: Group | None = None

    @property
    def size_bytes(self) -> int:
        """On disk; a segment counts until all of it has left."""
        return self._bytes

    def append(self, group: Mapping[int, bytes]) -> None:
        """On disk when this returns. Raises OSError, SpoolFull among them; then the group is not in the spool."""
        body = _encoder.encode(dict(group))
        record = _HEADER.pack(len(body), xxhash.xxh3_64_intdigest(body)) + body
        if self._bytes + len(record) > self._max_bytes:
            raise SpoolFull(f"the spool holds {self._bytes} bytes of {self._max_bytes}")
        file = self._get_writable()
        start = os.fstat(file.fileno()).st_size
        try:
            _write_all(file, record)
            os.fdatasync(file.fileno())
        except OSError:
            self._end_segment()
            # Not acknowledged: nobody may read it. If even this fails, its check sum gives it away.
            os.truncate(self._segments[-1], start)
            raise
        self._bytes += len(record)
        if start + len(record) >= SEGMENT_BYTES:
            self._end_segment()

    def find_oldest(self) -> Group | None:
        """The oldest group, until `remove_oldest`; None when the spool is empty."""
        while self._head is None and self._segments:
            if self._reading is None:
                self._reading = self._segments[0].open("rb")
            self._head = self._read_record(self._reading)
            if self._head is None:
                self._remove_segment()
        return self._head

    def remove_oldest(self) -> None:
        """The log has it."""
        self._head = None

    def adopt_orphans(self) -> int:
        """Take over the segments of slots whose process is gone; returns how many."""
        adopted = 0
        for slot in sorted(self._directory.glob("slot-*")):
            segments = _list_segments(slot) if slot != self._slot else []
            lock = _try_lock(slot) if segments else None
            if lock is None:
                continue
            try:
                self._end_segment()
                for segment in segments:
                    mine = self._name_next()
                    segment.rename(mine)
                    self._segments.append(mine)
                    self._bytes += mine.stat().st_size
                    adopted += 1
            finally:
                os.close(lock)
        if adopted:
            logger.warning("took over %d spooled segments of processes that are gone", adopted)
        return adopted

    def close(self) -> None:
        self._end_segment()
        if self._reading is not None:
            self._reading.close()
        os.close(self._lock)

    def _read_record(self, file: BinaryIO) -> Group | None:
        """None at the end of the segment, whole or cut short."""
        at = file.tell()
        header = file.read(_HEADER.size)
        if not header:
            return None
        if len(header) == _HEADER.size:
            length, digest = _HEADER.unpack(header)
            body = file.read(length)
            if len(body) == length and xxhash.xxh3_64_intdigest(body) == digest:
                return _decoder.decode(body)
        size = os.fstat(file.fileno()).st_size
        logger.error("%s is damaged at byte %d: its last %d bytes are skipped", file.name, at, size - at)
        return None

    def _get_writable(self) -> FileIO:
        if self._writing is None:
            segment = self._name_next()
            self._writing = segment.open("ab", buffering=0)
            self._segments.append(segment)
            _sync_folder(self._slot)
        return self._writing

    def _name_next(self) -> Path:
        name = self._slot / f"{self._next_number:012d}{_SUFFIX}"
        self._next_number += 1
        return name

    def _end_segment(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _remove_segment(self) -> None:
        segment = self._segments.pop(0)
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        if not self._segments:
            self._end_segment()
        self._bytes -= segment.stat().st_size
        segment.unlink()


def _write_all(file: FileIO, record: bytes) -> None:
    """A disk that fills up takes a part first and refuses the rest."""
    rest = memoryview(record)
    while rest:
        rest = rest[file.write(rest) :]


def measure_slots(directory: Path) -> list[int]:
    """Bytes that wait in each slot of a spool directory, whoever owns it. Owners may take them away meanwhile."""
    return [_measure(slot) for slot in sorted(directory.glob("slot-*"))]


def _measure(slot: Path) -> int:
    total = 0
    for segment in _list_segments(slot):
        with contextlib.suppress(FileNotFoundError):
            total += segment.stat().st_size
    return total


def _claim_slot(directory: Path) -> tuple[Path, int]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(MAX_SLOTS):
        slot = directory / f"slot-{number:03d}"
        slot.mkdir(mode=0o700, exist_ok=True)
        lock = _try_lock(slot)
        if lock is not None:
            return slot, lock
    raise OSError(f"all {MAX_SLOTS} slots of {directory} are in use")


def _try_lock(slot: Path) -> int | None:
    """An open file whose closing, or the death of this process, gives the slot back."""
    lock = os.open(slot / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _list_segments(slot: Path) -> list[Path]:
    return sorted(slot.glob(f"*{_SUFFIX}"))


def _get_number(segment: Path) -> int:
    return int(segment.stem)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

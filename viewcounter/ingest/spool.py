"""Groups of entries on the gateway's own disk while the event log is unavailable: fsynced, bounded, in order.

A spool is a folder of segments, see `spool_segments`. It is read in the order it was written, and a segment is removed
when the log has all of it. A crash in between sends a segment twice: event ids make that harmless. An entry that the
log refuses, while it takes those of other partitions, is set aside in a queue of its partition and delays no other.

Folders (`slots`) below the spool directory belong to one process each, by a lock that ends with the process. Another
process takes over the segments of a slot without an owner.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from viewcounter.ingest.spool_segments import DAMAGED, REFUSED, SPOOLED, Group, SegmentQueue, pack_record

logger = logging.getLogger(__name__)

MAX_SLOTS = 256


class SpoolFull(OSError):
    """The spool has reached `spool_max_bytes`; further groups are refused."""


class Spool:
    """One process's slot. Used by one thread at a time."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Takes the first free slot, with the segments that a dead process left there. Raises OSError."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._slot, self._lock = _claim_slot(directory)
        self._queue = SegmentQueue(self._slot)
        self._refused: dict[int, SegmentQueue] = {}
        for segment in _list_segments(self._slot, REFUSED):
            self._open_refused(_get_partition(segment))

    @property
    def size_bytes(self) -> int:
        """Bytes on disk; a segment counts until the log has all of it."""
        return self._queue.size_bytes + sum(queue.size_bytes for queue in self._refused.values())

    @property
    def refused_partitions(self) -> list[int]:
        """Partitions with refused entries, ascending."""
        return sorted(self._refused)

    def append(self, group: Mapping[int, bytes]) -> None:
        """Durable when this returns. Raises OSError, SpoolFull among them; then the group is not in the spool."""
        self._queue.append(self._pack(group))

    def append_refused(self, partition: int, payload: bytes) -> None:
        """As `append`, behind the refused entries of the partition."""
        self._open_refused(partition).append(self._pack({partition: payload}))

    def find_oldest(self) -> Group | None:
        """The oldest group, until all of it has been dropped; None when only refused entries are left."""
        return self._queue.find_oldest()

    def drop_from_oldest(self, partitions: set[int]) -> None:
        """The log has these entries of the oldest group."""
        self._queue.drop_from_oldest(partitions)

    def set_aside(self, partition: int) -> None:
        """Move the oldest group's entry of this partition to the queue of refused entries. Raises OSError."""
        payload = (self._queue.find_oldest() or {})[partition]
        # May exceed the bound for a moment: the entry is on the disk already, and leaves the main queue next.
        self._open_refused(partition).append(pack_record({partition: payload}))
        self._queue.drop_from_oldest({partition})

    def find_refused(self, partition: int) -> bytes | None:
        """The oldest refused entry of the partition, until `drop_refused`; None without one."""
        queue = self._refused.get(partition)
        group = None if queue is None else queue.find_oldest()
        if queue is not None and group is None:
            queue.close()
            del self._refused[partition]
        return None if group is None else next(iter(group.values()))

    def drop_refused(self, partition: int) -> None:
        """The log has the oldest refused entry."""
        self._refused[partition].drop_from_oldest({partition})

    def adopt_orphans(self) -> int:
        """Take over the segments of slots whose process has ended; returns their number."""
        adopted = 0
        for slot in sorted(self._directory.glob("slot-*")):
            segments = [] if slot == self._slot else [*_list_segments(slot, SPOOLED), *_list_segments(slot, REFUSED)]
            lock = _try_lock(slot) if segments else None
            if lock is None:
                continue
            try:
                for segment in segments:
                    is_refused = segment.suffix == REFUSED
                    queue = self._open_refused(_get_partition(segment)) if is_refused else self._queue
                    queue.adopt([segment])
                    adopted += 1
            finally:
                os.close(lock)
        if adopted:
            logger.warning("took over %d spooled segments of ended processes", adopted)
        return adopted

    def close(self) -> None:
        for queue in (self._queue, *self._refused.values()):
            queue.close()
        os.close(self._lock)

    def _pack(self, group: Mapping[int, bytes]) -> bytes:
        record = pack_record(group)
        if self.size_bytes + len(record) > self._max_bytes:
            raise SpoolFull(f"the spool holds {self.size_bytes} bytes of {self._max_bytes}")
        return record

    def _open_refused(self, partition: int) -> SegmentQueue:
        if partition not in self._refused:
            self._refused[partition] = SegmentQueue(self._slot, prefix=f"p{partition}-", suffix=REFUSED)
        return self._refused[partition]


@dataclass(frozen=True, slots=True)
class SpoolState:
    """All slots of a directory: `slot_bytes` wait in each, `refused_partitions` have refused entries, `damaged_count`
    segments could not be read completely and are kept."""

    slot_bytes: tuple[int, ...]
    refused_partitions: tuple[int, ...]
    damaged_count: int


def measure_slots(directory: Path) -> SpoolState:
    """Owners may remove files meanwhile."""
    slots = sorted(directory.glob("slot-*"))
    refused = {_get_partition(segment) for slot in slots for segment in _list_segments(slot, REFUSED)}
    return SpoolState(
        slot_bytes=tuple(_measure(slot) for slot in slots),
        refused_partitions=tuple(sorted(refused)),
        damaged_count=sum(len(_list_segments(slot, DAMAGED)) for slot in slots),
    )


def _measure(slot: Path) -> int:
    total = 0
    for segment in (*_list_segments(slot, SPOOLED), *_list_segments(slot, REFUSED)):
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
    """An open file; the slot is released when it is closed, or the process ends."""
    lock = os.open(slot / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _list_segments(slot: Path, suffix: str) -> list[Path]:
    return sorted(slot.glob(f"*{suffix}"))


def _get_partition(segment: Path) -> int:
    """From the name of a segment of refused entries: `p<partition>-<number>.refused`."""
    return int(segment.stem[1:].partition("-")[0])

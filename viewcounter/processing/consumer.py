"""Consumes the log of some partitions: decodes entries to columns, one flush at a time.

A flush ends at the first of four bounds: events, bytes, distinct aggregate keys, time spent reading. Nothing is ever
dropped: unread entries wait in the log.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import Entry, EventLog, Position
from viewcounter.events.columns import Columns, narrow
from viewcounter.processing.batch import DecodedRange, decode_entries
from viewcounter.processing.errors import LogEndLost
from viewcounter.processing.settings import FlushLimits


@dataclass(frozen=True, slots=True)
class PartitionChunk:
    """Every event acknowledged before `complete_at`, by this process's clock, is in `decoded` or before it; None: not
    known."""

    decoded: DecodedRange
    complete_at: datetime | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The events of one flush by partition, ascending; partitions without entries are missing.

    `at_end`: the log had no more entries of any partition when this was read.
    """

    parts: Mapping[int, PartitionChunk]
    at_end: bool


@dataclass(slots=True)
class _Table:
    """The events of one flush. One read of the log may exceed the bounds."""

    limits: FlushLimits
    full_at: float
    parts: dict[int, list[DecodedRange]] = field(default_factory=dict)
    event_count: int = 0
    byte_count: int = 0
    _keys_fit_below: int = field(init=False)  # with fewer events than this the bound of keys cannot be reached

    def __post_init__(self) -> None:
        self._keys_fit_below = self.limits.max_keys

    def add(self, partition: int, part: DecodedRange) -> None:
        self.parts.setdefault(partition, []).append(part)
        self.event_count += len(part.columns)
        self.byte_count += part.columns.size_bytes + sum(len(letter.payload) for letter in part.dead_letters)

    def is_full(self, *, now: float) -> bool:
        return (
            self.event_count >= self.limits.max_events
            or self.byte_count >= self.limits.max_bytes
            or now >= self.full_at
            or self._has_all_keys()
        )

    def join(self) -> dict[int, DecodedRange]:
        """By partition, ascending."""
        return {partition: DecodedRange.join(self.parts[partition]) for partition in sorted(self.parts)}

    def _has_all_keys(self) -> bool:
        """Each event adds at most one key, so keys are rarely counted."""
        if self.event_count < self._keys_fit_below:
            return False
        joined = self.join()
        self.parts = {partition: [part] for partition, part in joined.items()}
        missing = self.limits.max_keys - sum(count_keys(part.columns) for part in joined.values())
        self._keys_fit_below = self.event_count + missing
        return missing <= 0


FIRST_READ_ENTRIES = 64
"""Of all partitions together. Entries may have one event or thousands; the first read finds out."""

BARRIER_INTERVAL = timedelta(seconds=1)
MAX_BARRIERS = 128
"""Barriers of a partition whose ends have not been reached: those of a backlog, one for each interval."""


class _Barriers:
    """Ends of one partition's log, each with the time before which everything acknowledged lies below it."""

    def __init__(self) -> None:
        self._pending: list[tuple[Position, datetime]] = []

    def add(self, end: Position, noted_at: datetime) -> None:
        if not self._pending or (
            len(self._pending) < MAX_BARRIERS and noted_at - self._pending[-1][1] >= BARRIER_INTERVAL
        ):
            self._pending.append((end, noted_at))

    def pass_through(self, position: Position) -> datetime | None:
        """The time of the last end that has been reached."""
        reached = [noted_at for end, noted_at in self._pending if end <= position]
        del self._pending[: len(reached)]
        return reached[-1] if reached else None


class LogConsumer:
    """Reads partitions forward, all by the same calls of the log, at most `max_read_entries` entries at once and none
    past `until`. A partition whose position the log no longer reaches back to is in `trimmed` and is not read."""

    def __init__(
        self,
        log: EventLog,
        after: Mapping[int, Position],
        *,
        until: Position | None = None,
        limits: FlushLimits,
        max_read_entries: int,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._log = log
        self._after = dict(after)
        self._until = until
        self._limits = limits
        self._max_read_entries = max_read_entries
        self._next_read_entries = min(FIRST_READ_ENTRIES, max_read_entries)
        self._clock = clock
        self._now = now
        self._barriers = {partition: _Barriers() for partition in after}
        self.trimmed: dict[int, PositionTrimmed] = {}

    @property
    def positions(self) -> dict[int, Position]:
        """The end of what has been read, by partition."""
        return dict(self._after)

    def read_chunk(self) -> Chunk:
        """The events of the next flush; without parts at the end of the log. Raises EventLogError, LogEndLost."""
        table = _Table(self._limits, full_at=self._clock() + self._limits.max_seconds)
        unread = set(self._after)
        self._take_barrier()
        while unread:
            unread = self._read(unread, table)
            if table.is_full(now=self._clock()):
                break
        parts = {
            partition: PartitionChunk(decoded, self._barriers[partition].pass_through(decoded.end))
            for partition, decoded in table.join().items()
        }
        return Chunk(parts, at_end=not unread)

    def _take_barrier(self) -> None:
        """The clock is read before the log: what is acknowledged in between may lie past the end."""
        noted_at = self._now()
        ends = self._log.barrier(self._after)
        lost = {partition: after for partition, after in self._after.items() if ends[partition] < after}
        if lost:
            raise LogEndLost(lost)
        for partition, end in ends.items():
            self._barriers[partition].add(end, noted_at)

    def _read(self, partitions: set[int], table: _Table) -> set[int]:
        """Reads once. Returns the partitions whose end was not reached."""
        each = max(1, self._next_read_entries // len(partitions))
        found = self._log.read_many({p: self._after[p] for p in partitions}, max_entries=each)
        unread = set()
        entry_count = event_count = 0
        for partition, entries in found.items():
            if isinstance(entries, PositionTrimmed):
                self.trimmed[partition] = entries
                del self._after[partition]
                continue
            wanted = self._cut(entries)
            if len(entries) == each and len(wanted) == each:
                unread.add(partition)
            if wanted:
                part = decode_entries(wanted, after=self._after[partition])
                table.add(partition, part)
                self._after[partition] = part.end
                entry_count += len(wanted)
                event_count += len(part.columns)
        if entry_count:
            self._next_read_entries = self._plan_read(table, events_an_entry=event_count / entry_count)
        return unread

    def _cut(self, entries: list[Entry]) -> list[Entry]:
        if self._until is None or not entries or entries[-1].position <= self._until:
            return entries
        return [entry for entry in entries if entry.position <= self._until]

    def _plan_read(self, table: _Table, *, events_an_entry: float) -> int:
        """Entries that fill the rest of the table if they are like the last ones; of a whole table if it is full."""
        missing = self._limits.max_events - table.event_count
        wanted = (missing if missing > 0 else self._limits.max_events) / max(1.0, events_an_entry)
        return min(self._max_read_entries, max(1, round(wanted)))


def count_keys(columns: Columns) -> int:
    """Distinct (video, type, minute)."""
    columns_of_key = (narrow(columns.minutes()), columns.type_ids, narrow(columns.video_index))
    order = np.lexsort(columns_of_key)
    keys = [column[order] for column in columns_of_key]
    changes = np.zeros(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        changes |= key[1:] != key[:-1]
    return int(changes.sum()) + bool(len(order))

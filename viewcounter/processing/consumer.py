"""Consumes the log of a partition: decodes entries to columns, one flush at a time.

A flush ends at the first of four bounds: events, bytes, distinct aggregate keys, time spent reading. Nothing is ever
dropped: unread entries wait in the log.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.events.columns import Columns, narrow
from viewcounter.processing.batch import DecodedRange, decode_entries
from viewcounter.processing.settings import FlushLimits


@dataclass(frozen=True, slots=True)
class Chunk:
    """`at_end`: the log had no more entries when this was read. Every event acknowledged before `complete_ms` (since
    1970 UTC) is in this chunk or before it; None: unknown."""

    decoded: DecodedRange
    at_end: bool
    complete_ms: int | None


@dataclass(slots=True)
class _Table:
    """The events of one flush. One read of the log may exceed the bounds."""

    limits: FlushLimits
    full_at: float
    parts: list[DecodedRange] = field(default_factory=list)
    event_count: int = 0
    byte_count: int = 0
    _keys_fit_below: int = field(init=False)  # with fewer events than this the bound of keys cannot be reached

    def __post_init__(self) -> None:
        self._keys_fit_below = self.limits.max_keys

    def add(self, part: DecodedRange) -> None:
        self.parts.append(part)
        self.event_count += len(part.columns)
        self.byte_count += part.columns.size_bytes + sum(len(letter.payload) for letter in part.dead_letters)

    def is_full(self, *, now: float) -> bool:
        return (
            self.event_count >= self.limits.max_events
            or self.byte_count >= self.limits.max_bytes
            or now >= self.full_at
            or self._has_all_keys()
        )

    def _has_all_keys(self) -> bool:
        """Each event adds at most one key, so keys are rarely counted."""
        if self.event_count < self._keys_fit_below:
            return False
        self.parts = [DecodedRange.join(self.parts)]
        missing = self.limits.max_keys - count_keys(self.parts[0].columns)
        self._keys_fit_below = self.event_count + missing
        return missing <= 0


FIRST_READ_ENTRIES = 32
"""Entries may have one event or thousands; the first read finds out."""


class PartitionConsumer:
    """Reads one partition forward, at most `max_read_entries` entries of the log at once and none past `until`."""

    def __init__(
        self,
        log: EventLog,
        partition: int,
        *,
        after: Position,
        until: Position | None = None,
        limits: FlushLimits,
        max_read_entries: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`wall_clock` gives seconds since 1970 UTC."""
        self._log = log
        self._partition = partition
        self._after = after
        self._until = until
        self._limits = limits
        self._max_read_entries = max_read_entries
        self._next_read_entries = min(FIRST_READ_ENTRIES, max_read_entries)
        self._clock = clock
        self._wall_clock = wall_clock

    def read_chunk(self) -> Chunk | None:
        """The events of the next flush; None at the end of the log. Raises EventLogError, PositionTrimmed."""
        table = _Table(self._limits, full_at=self._clock() + self._limits.max_seconds)
        at_end = False
        complete_ms: int | None = None
        while not at_end:
            max_entries = self._next_read_entries
            read_at_ms = int(self._wall_clock() * 1000)
            entries = self._log.read(self._partition, after=self._after, max_entries=max_entries)
            at_end = is_tail = len(entries) < max_entries
            if self._until is not None and entries and entries[-1].position > self._until:
                entries = [entry for entry in entries if entry.position <= self._until]
                at_end, is_tail = True, False
            end = entries[-1].position if entries else self._after
            complete_ms = get_complete_ms(end, read_at_ms=read_at_ms, is_tail=is_tail)
            if entries:
                part = decode_entries(entries)
                table.add(part)
                self._after = part.end
                self._next_read_entries = self._plan_read(table, entry_count=len(entries), part=part)
            if table.is_full(now=self._clock()):
                break
        return Chunk(DecodedRange.join(table.parts), at_end, complete_ms) if table.parts else None

    def _plan_read(self, table: _Table, *, entry_count: int, part: DecodedRange) -> int:
        """Entries that fill the rest of the table if they are like the last ones; of a whole table if it is full."""
        events_an_entry = max(1.0, len(part.columns) / entry_count)
        missing = self._limits.max_events - table.event_count
        wanted = (missing if missing > 0 else self._limits.max_events) / events_an_entry
        return min(self._max_read_entries, max(1, round(wanted)))


def get_complete_ms(end: Position, *, read_at_ms: int, is_tail: bool) -> int | None:
    """The time up to which a partition is complete that has applied all entries through `end`.

    Positions are of the log server's clock, in the order of the appends. A position in the reader's future is from a
    wrong clock and proves nothing; then only the end of the log (`is_tail`) does, as of the time of the read.
    """
    if end.ms <= read_at_ms:
        return end.ms
    return read_at_ms if is_tail else None


def count_keys(columns: Columns) -> int:
    """Distinct (video, type, minute)."""
    columns_of_key = (narrow(columns.minutes()), columns.type_ids, narrow(columns.video_index))
    order = np.lexsort(columns_of_key)
    keys = [column[order] for column in columns_of_key]
    changes = np.zeros(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        changes |= key[1:] != key[:-1]
    return int(changes.sum()) + bool(len(order))

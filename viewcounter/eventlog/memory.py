"""The event log in memory, for tests of producers and consumers.

Its entries are lost with the process, so no setting selects it.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from viewcounter.eventlog.codec import find_received_at, get_event_count
from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import (
    FIRST_TERM,
    START,
    AppendResult,
    Entry,
    EventLog,
    LogIdentity,
    LogSession,
    Position,
    Tails,
    Unread,
    Usage,
)


@dataclass(slots=True)
class _Stream:
    """`entries` ascend within (`floor`, `tail`]; `tail` is the last position ever assigned."""

    entries: list[Entry] = field(default_factory=list)
    tail: Position = START
    floor: Position = START


class MemoryEventLog(EventLog):
    """Every method holds the one lock for its whole duration, so each is one atomic step."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970 UTC, as a log server's does."""
        self._clock = clock
        self._streams: dict[int, _Stream] = {}
        self._lock = threading.Lock()
        self._appended = threading.Condition(self._lock)
        self._identity: LogIdentity | None = None

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        with self._lock:
            positions = {p: self._add(self._get(p), payload) for p, payload in entries.items()}
            self._appended.notify_all()
            return AppendResult(positions)

    def read_many(self, after: Mapping[int, Position], *, max_entries: int) -> dict[int, list[Entry] | PositionTrimmed]:
        with self._lock:
            return {p: self._read(p, after=position, max_entries=max_entries) for p, position in after.items()}

    def wait(self, after: Mapping[int, Position], *, timeout_seconds: float) -> bool:
        def has_entry() -> bool:
            ends = ((self._get(p).entries[-1:], position) for p, position in after.items())
            return any(end and end[0].position > position for end, position in ends)

        with self._appended:
            return self._appended.wait_for(has_entry, timeout_seconds)

    def barrier(self, partitions: Iterable[int]) -> dict[int, Position]:
        return self.read_tails(partitions).positions

    def read_tails(self, partitions: Iterable[int]) -> Tails:
        with self._lock:
            return Tails(self._now(), {p: self._get(p).tail for p in partitions})

    def read_unread(self, positions: Mapping[int, Position]) -> Unread:
        with self._lock:
            unread = {p: self._get(p).entries[_count_through(self._get(p), after) :] for p, after in positions.items()}
            received = {p: find_received_at(entries[0].payload) for p, entries in unread.items() if entries}
            return Unread(
                read_at=self._now(),
                events={p: sum(get_event_count(entry.payload) for entry in entries) for p, entries in unread.items()},
                bytes={p: sum(len(entry.payload) for entry in entries) for p, entries in unread.items()},
                oldest={p: at for p, at in received.items() if at is not None},
            )

    def read_floors(self, partitions: Iterable[int]) -> dict[int, Position]:
        with self._lock:
            return {p: self._get(p).floor for p in partitions}

    def read_usage(self, partitions: Iterable[int]) -> Usage:
        with self._lock:
            sizes = {p: sum(len(entry.payload) for entry in self._get(p).entries) for p in partitions}
            return Usage(sizes, used_bytes=sum(sizes.values()), max_bytes=None)

    def trim(self, partition: int, *, through: Position) -> int:
        with self._lock:
            stream = self._get(partition)
            count = _count_through(stream, through)
            if count:
                stream.floor = stream.entries[count - 1].position
                del stream.entries[:count]
            return count

    def read_identity(self) -> LogIdentity | None:
        return self._identity

    @property
    def session(self) -> LogSession:
        return LogSession(self._identity or LogIdentity("", FIRST_TERM), run="memory")

    def open(
        self,
        identity: LogIdentity,
        *,
        replaces: LogIdentity | None = None,
        lost: Mapping[int, Position] = MappingProxyType({}),
    ) -> bool:
        with self._lock:
            if replaces is not None and replaces != self._identity:
                return False
            self._identity = identity
            for partition, through in lost.items():
                stream = self._get(partition)
                again = [entry for entry in stream.entries if entry.position <= through]
                stream.entries = stream.entries[len(again) :]
                self._add(stream, b"", lost_before=True)
                for entry in again:
                    self._add(stream, entry.payload)
            self._appended.notify_all()
            return True

    def check(self) -> None:
        """Nothing can be down."""

    def close(self) -> None:
        """Nothing to close."""

    def _get(self, partition: int) -> _Stream:
        return self._streams.setdefault(partition, _Stream())

    def _read(self, partition: int, *, after: Position, max_entries: int) -> list[Entry] | PositionTrimmed:
        stream = self._get(partition)
        if stream.floor > after:
            return PositionTrimmed(f"partition {partition} is at {after}, its log is trimmed through {stream.floor}")
        first = _count_through(stream, after)
        return stream.entries[first : first + max_entries]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _add(self, stream: _Stream, payload: bytes, *, lost_before: bool = False) -> Position:
        term = FIRST_TERM if self._identity is None else self._identity.term
        tail = stream.tail
        stream.tail = Position(term, 0) if term > tail.term else Position(tail.term, tail.seq + 1)
        stream.entries.append(Entry(stream.tail, payload, lost_before))
        return stream.tail


def _count_through(stream: _Stream, position: Position) -> int:
    return bisect_right(stream.entries, position, key=lambda entry: entry.position)

"""The interface between producers and consumers of the log. One contract suite runs on every implementation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

from viewcounter.eventlog.errors import EventLogError, PositionTrimmed


class Position(NamedTuple):
    """Position in one partition's log; later entries compare greater. Its text is `term-seq`, as the stream entry id.

    No clock is in it. `term`: of the log, raised when it is replaced; in logs of earlier releases, milliseconds since
    1970 of the server's clock. `seq`: counts the entries of a partition in a term.
    """

    term: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError unless `text` is `term-seq` with two non-negative decimal numbers."""
        term, separator, seq = text.partition("-")
        if not (separator and term.isdecimal() and seq.isdecimal() and text.isascii()):
            raise ValueError(f"not a log position: {text!r}")
        return cls(int(term), int(seq))

    def __str__(self) -> str:
        return f"{self.term}-{self.seq}"


START = Position(0, 0)
"""Before the first entry of any partition."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`lost_before`: it holds no events, but says that a term began with it after a loss: entries of earlier terms that
    were not read before it may be lost."""

    position: Position
    payload: bytes
    lost_before: bool = False


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """What a log server holds: the id of a log, and the term of the positions that it gives.

    `term` 0: of a release in which the server's clock gave the positions.
    """

    id: str
    term: int


@dataclass(frozen=True, slots=True)
class LogSession:
    """A log while its server runs without a restart. `run`: another one for each start of the server."""

    identity: LogIdentity
    run: str

    @property
    def text(self) -> str:
        """Equal for equal sessions: the state rows of partitions name the session whose entries they take."""
        return f"{self.identity.term}/{self.run}"


FIRST_TERM = 1
"""Of a new cluster's log."""

_OLDEST_CLOCK = 10**11
TERM_AFTER_CLOCK = 10**13
"""Lowest term of a log whose positions were milliseconds before: above those until the year 2286, so that processes of
both releases may append for as long as an upgrade lasts."""


def get_next_term(newest: int) -> int:
    """The term after `newest`, the highest one of a log's positions; 0: it has none."""
    is_of_clock = _OLDEST_CLOCK <= newest < TERM_AFTER_CLOCK
    return TERM_AFTER_CLOCK if is_of_clock else newest + 1


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Each partition of an append is in exactly one of the two.

    `positions` are durable. The outcome of a `failed` partition may be unknown: its entry may or may not be in the log.
    """

    positions: dict[int, Position]
    failed: dict[int, EventLogError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tails:
    """The last position of each partition ever written, all seen at `read_at`, the log server's clock."""

    read_at: datetime
    positions: dict[int, Position]


@dataclass(frozen=True, slots=True)
class Unread:
    """The unread entries past a position of each partition, all seen at `read_at`, the log server's clock.

    `events`: number of events in them. `bytes`: their size on the log server, an estimate: the share of their events in
    the size of all entries. `oldest`: when the gateway received the first of them, by the gateway's clock; not of a
    damaged entry. A partition without unread entries is 0 in both and not in `oldest`.
    """

    read_at: datetime
    events: dict[int, int]
    bytes: dict[int, int]
    oldest: dict[int, datetime]


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory of the log server: of the entries of each partition, in use in total, and its limit.

    `max_bytes` None: the server has no limit.
    """

    partition_bytes: dict[int, int]
    used_bytes: int
    max_bytes: int | None


class EventLog(Protocol):
    """Every call is bounded in time and raises EventLogError (retryable) when the log cannot answer.

    An implementation on a server expects one log and uses no other, except in the calls about identity. It stays in one
    session: after a restart of the server, or once another process has opened the log, `read_many`, `barrier` and
    `read_tails` raise LogRestarted once.
    """

    @property
    def session(self) -> LogSession:
        """The session that the next calls belong to. Begins one if there is none."""

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        """Append one entry to each named partition. Returns when durable; never raises for a single partition.

        Fails with LogBehind if the server holds less of a partition than this object has appended.
        """

    def read(self, partition: int, *, after: Position, max_entries: int) -> list[Entry]:
        """`read_many` of one partition; raises PositionTrimmed."""
        found = self.read_many({partition: after}, max_entries=max_entries)[partition]
        if isinstance(found, PositionTrimmed):
            raise found
        return found

    def read_many(self, after: Mapping[int, Position], *, max_entries: int) -> dict[int, list[Entry] | PositionTrimmed]:
        """Up to `max_entries` entries of each partition past its position, ascending; empty when there are none.

        One snapshot of all partitions, in one round trip. A partition has PositionTrimmed instead of entries when
        entries past its position have been trimmed away; the others are not affected.
        """

    def wait(self, after: Mapping[int, Position], *, timeout_seconds: float) -> bool:
        """Block until a partition has an entry past its position: True; False after `timeout_seconds` without one.

        Only a hint, and of the server as it is: the id of the log is not checked, and a log that was emptied or
        replaced, or whose entries were trimmed, may look like one without new entries. After a False a caller that has
        to know calls `barrier`. Raises EventLogUnavailable at most two time limits of the log after the server froze.
        """

    def barrier(self, partitions: Iterable[int]) -> dict[int, Position]:
        """Ends of the partitions such that every entry acknowledged before the call lies at or below its end.

        START for a partition that was never written. A reader that has passed the end of a partition has read
        everything acknowledged before the call.
        """

    def read_tails(self, partitions: Iterable[int]) -> Tails:
        """One snapshot of the ends; START for a partition that was never written."""

    def read_unread(self, positions: Mapping[int, Position]) -> Unread:
        """The unread entries past each of `positions`. The cost does not depend on their number."""

    def read_floors(self, partitions: Iterable[int]) -> dict[int, Position]:
        """The position below which reads fail; START for a partition without trimmed entries."""

    def read_usage(self, partitions: Iterable[int]) -> Usage:
        """Estimates of the server; the cost does not depend on the number of entries."""

    def trim(self, partition: int, *, through: Position) -> int:
        """Delete entries up to and including `through`; returns their number. Safe to repeat."""

    def read_identity(self) -> LogIdentity | None:
        """Of the server's log; None: it has none, or is from before logs had ids."""

    def open(
        self,
        identity: LogIdentity,
        *,
        replaces: LogIdentity | None = None,
        lost: Mapping[int, Position] = MappingProxyType({}),
    ) -> bool:
        """Create the log, or begin another term of it. Durable when this returns; every other call then demands this
        id, and the next appends have positions in this term, which must be above that of every entry on the server.

        Changes nothing and returns False if the server does not hold `replaces` any more. `lost`: partitions of which
        entries may be lost; their first entry of the term says so. Entries that lie at or below the position of their
        partition may never have been read: they are appended again behind that one.
        """

    def check(self) -> None:
        """Raises EventLogError unless the log can be used; LogUnfit if an operator has to act."""

    def close(self) -> None: ...


class ConfirmLog(Protocol):
    """Compares a log with what others know of it before anything is appended in its session."""

    def __call__(self, log: EventLog, *, is_behind: bool) -> None:
        """`is_behind`: the log's server holds less than it has acknowledged. Raises EventLogError; may begin a term."""

    def is_due(self) -> bool:
        """Whether the last comparison no longer holds, although the server still runs. Costs nothing."""

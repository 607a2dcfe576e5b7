"""The seam between whoever fills the log and whoever drains it. One contract suite runs on every implementation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from viewcounter.eventlog.errors import EventLogError


class Position(NamedTuple):
    """A place in one partition's log; later entries compare greater. Written `ms-seq`, as the stream entry id."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError unless `text` is `ms-seq` with two non-negative decimal numbers."""
        ms, separator, seq = text.partition("-")
        if not (separator and ms.isdecimal() and seq.isdecimal() and text.isascii()):
            raise ValueError(f"not a log position: {text!r}")
        return cls(int(ms), int(seq))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


START = Position(0, 0)
"""Before the first entry of any partition."""


@dataclass(frozen=True, slots=True)
class Entry:
    position: Position
    payload: bytes


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Each partition of an append stands in exactly one of the two.

    `positions` are durable. For `failed` ones the outcome may be unknown: the entry may or may not be in the log.
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
    """What lies past a position in each partition, all seen at `read_at`, the log server's clock.

    `events` counts what the log still holds; a partition without any is not in `oldest`.
    """

    read_at: datetime
    events: dict[int, int]
    oldest: dict[int, Position]


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory of the log server: what the entries of each partition take, all that it uses, and its bound.

    `max_bytes` None: the server has no bound of its own.
    """

    partition_bytes: dict[int, int]
    used_bytes: int
    max_bytes: int | None


class EventLog(Protocol):
    """Every call is bounded in time and raises EventLogError (retryable) when the log cannot answer.

    An implementation on a server is told which log to expect, and touches no other: but for the calls about ids, and
    the two that raise, by which a lost log is made good.
    """

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        """Append one entry to each partition named. Returns when durable; never raises for a single partition."""

    def read(self, partition: int, *, after: Position, max_entries: int) -> list[Entry]:
        """Up to `max_entries` entries past `after`, ascending; empty when there are none.

        Raises PositionTrimmed when entries past `after` have been trimmed away, or lost with the log's end.
        """

    def read_tails(self, partitions: Iterable[int]) -> Tails:
        """One snapshot of the ends; START for a partition that was never written."""

    def read_unread(self, positions: Mapping[int, Position]) -> Unread:
        """How much lies past each of `positions`. Costs the same however much it is."""

    def read_floors(self, partitions: Iterable[int]) -> dict[int, Position]:
        """Below which position `read` refuses; START for a partition of which nothing has been trimmed or lost."""

    def read_usage(self, partitions: Iterable[int]) -> Usage:
        """Estimates of the server's; the cost does not grow with the number of entries."""

    def trim(self, partition: int, *, through: Position) -> int:
        """Forget entries up to and including `through`; returns how many went. Safe to repeat."""

    def raise_tail(self, partition: int, *, to: Position) -> int | None:
        """Make the next append land past `to`; None if the log already reaches that far (nothing is changed then).

        Positions must only grow: a log whose end was lost would otherwise hand out positions that the shard has long
        passed, and the drains would skip those entries in silence. Entries that lie at or below `to` may be such
        ones: they are appended again, in their order, and their number is returned. Whoever has applied them finds
        their events to be repeats. After a raise, `read` refuses positions below `to`: what else stood there is lost
        to whoever has not applied it.
        """

    def raise_floor(self, partition: int, *, to: Position) -> bool:
        """Let `read` refuse positions below `to`, as after a trim. False if it already does."""

    def read_id(self) -> str | None:
        """Which log the server holds; None: it holds none, or one from before logs had ids."""

    def write_id(self, log_id: str) -> None:
        """Create the log, or take it over. Durable when this returns; every other call then demands this id."""

    def check(self) -> None:
        """Raises EventLogError unless the log can be used; LogUnfit where a person has to look at the server."""

    def close(self) -> None: ...

"""Finds entries that the log acknowledged to a gateway process and does not have.

Each entry names the process that appended it and the position of that process's acknowledged entry before: a link. The
row of a partition keeps where the last entry of each process stands, as of its position. A link to a later place than
that names an entry that nobody has read: the range up to it is reported as lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from viewcounter.eventlog.codec import EntryLink
from viewcounter.eventlog.interface import Position
from viewcounter.storage.log_sessions import LossReason, LostRange

MAX_PRODUCERS = 64
"""Kept for each partition. Of one that is dropped, entries before its last are no longer missed."""

Step = tuple[Position, EntryLink | None]
"""Position of an entry, and its link. None: something up to there could not be read, or is reported as lost already."""


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    at: tuple[int, int]
    since: tuple[int, int]
    last: dict[int, tuple[int, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


@dataclass(frozen=True, slots=True)
class Producers:
    """The processes that have appended to one partition, as of a position of it.

    Invariant: each process with a linked entry past `since` is in `last`, with the position of its newest one.
    """

    since: Position
    last: Mapping[int, Position] = field(default_factory=dict)

    @classmethod
    def unpack(cls, packed: bytes, *, at: Position) -> "Producers":
        """`packed`: of the state row whose position is `at`. A row that was moved by a release without producers, or
        past a loss, knows none of before."""
        if packed:
            stored = _decoder.decode(packed)
            if Position(*stored.at) == at:
                return cls(Position(*stored.since), {key: Position(*last) for key, last in stored.last.items()})
        return cls(at)

    def pack(self, *, at: Position) -> bytes:
        return _encoder.encode(_Packed(at, self.since, dict(self.last)))

    def take(self, steps: Iterable[Step]) -> "tuple[Producers, list[LostRange]]":
        """After these entries, in the order of the log, and what their links miss."""
        since, last = self.since, dict(self.last)
        lost: list[LostRange] = []
        for position, link in steps:
            if link is None:
                since, last = position, {}
                continue
            found = max(last.pop(link.producer, since), since)
            if link.after > found:
                lost.append(_build_loss(link, found))
            last[link.producer] = position  # at the end: the order is that of the newest entries
            if len(last) > MAX_PRODUCERS:
                since = last.pop(next(iter(last)))
        return Producers(since, last), lost


def _build_loss(link: EntryLink, found: Position) -> LostRange:
    detail = f"process {link.producer:016x} has an acknowledged entry at {link.after}, which the log does not have"
    return LostRange(str(found), str(link.after), LossReason.MISSING, detail)

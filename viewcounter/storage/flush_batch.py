"""The content of a flush: everything that one range of one partition's log writes, as arrays."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viewcounter.events.columns import Columns
from viewcounter.storage.conflicts import Conflicts
from viewcounter.storage.dead_letter_limits import Tally
from viewcounter.storage.dead_letters import DeadLetter
from viewcounter.storage.log_sessions import LostRange
from viewcounter.storage.partitions import OWNED


@dataclass(frozen=True, slots=True)
class Aggregates:
    """One row for each key; keys are sorted and distinct. `starts_us` is empty for all-time totals.

    `video_index` points into the batch's `videos`; sums, mins and maxs are thousandths. `has_overflowed`: a sum is
    wrong because it needs more than 64 bits.
    """

    video_index: NDArray[Any]
    type_ids: NDArray[Any]
    starts_us: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    mins: NDArray[np.int64]
    maxs: NDArray[np.int64]
    has_overflowed: bool = False

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, slots=True)
class IdBlock:
    """The new ids of one minute: `ids` S16 and `contents` uint64, aligned, sorted by id."""

    minute: int
    ids: NDArray[Any]
    contents: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """received = counted + duplicate + conflict + dead_lettered, for events of one hour (microseconds since 1970)."""

    hour_us: int
    counted: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead_lettered: int = 0
    digest: int = 0

    @property
    def received(self) -> int:
        return self.counted + self.duplicate + self.conflict + self.dead_lettered


@dataclass(frozen=True, slots=True)
class FlushBatch:
    """Everything that a flush writes for `(old_position, new_position]` of one partition. Positions are `term-seq`.

    `state` is the state that the partition's row must have: owned, or incoming for a copy that is catching up.
    """

    partition: int
    epoch: int
    old_position: str
    new_position: str
    watermark: datetime
    counted: Columns
    id_blocks: list[IdBlock]
    minutes: Aggregates
    totals: Aggregates
    ledger: list[LedgerLine]
    dead_letters: list[DeadLetter]
    conflicts: Conflicts
    tally: Tally
    event_types: dict[int, str]
    state: str = OWNED
    log_session: str = ""
    """The session of the log in which the batch was read; the row must take entries of it."""
    losses: tuple[LostRange, ...] = ()
    producers: bytes = b""
    """Of the partition as of `new_position`; see processing/producers.py."""

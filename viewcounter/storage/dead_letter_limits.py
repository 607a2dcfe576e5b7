"""Limits on dead letters: a partition stops rather than dead-letter a large part of its events.

Inside the flush transaction, its dead letters are added to the counters of the partition's row (events read and
dead-lettered in a window of time, and dead-lettered in a row) and compared with the limits. Partitions stop
independently.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.storage.errors import PositionMoved, TooManyDeadLetters
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.settings import DeadLetterLimits

_SQL = load_queries("dead_letters.sql")

READ_STOPPED = _SQL["read_stopped"]
"""Parameters: partitions. A row for each stopped one: partition, position, stop_reason, stop_detail, stopped_at."""

Connection = psycopg.Connection[Any]


class StopReason(StrEnum):
    RUN = "dead_letter_run"
    """More dead letters in a row than the limit."""
    RATIO = "dead_letter_ratio"
    """A larger share of the window's events than the limit."""
    ALL_REFUSED = "all_refused"
    """Every tried event was refused: the cause is not in the events."""
    REFUSED = "flush_refused"
    """The shard refuses the flush, whatever events are in it."""
    UNBOUNDED = "isolation_bound"
    """The bad events were not found within the limits of time and attempts."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of a flush: events and unreadable log entries that it reads, and those that it dead-letters.

    `leading`, `longest` and `trailing`: length of the runs of dead letters at the start, anywhere and at the end.
    """

    read: int
    dead: int
    leading: int
    longest: int
    trailing: int

    @property
    def is_all_dead(self) -> bool:
        return self.read == self.dead


def count_range(is_dead: NDArray[np.bool_], *, unreadable_count: int) -> Tally:
    """`is_dead` for each event of a range of the log, in its order.

    An unreadable entry, which held an unknown number of events, counts as one, and in a run only if nothing else was
    read.
    """
    dead = int(is_dead.sum()) + unreadable_count
    read = len(is_dead) + unreadable_count
    if dead == read:
        return Tally(read, dead, leading=dead, longest=dead, trailing=dead)
    alive = np.flatnonzero(~is_dead)
    gaps = np.diff(alive, prepend=-1, append=len(is_dead)) - 1
    return Tally(read, dead, leading=int(gaps[0]), longest=int(gaps.max()), trailing=int(gaps[-1]))


@dataclass(frozen=True, slots=True)
class Window:
    """The counters of the partition's row. The next `allowance` dead letters are accepted without a limit."""

    read: int
    dead: int
    run: int
    allowance: int


def check_dead_letters(window: Window, tally: Tally, limits: DeadLetterLimits) -> None:
    """Pure. Raises TooManyDeadLetters."""
    if tally.dead <= window.allowance:
        return
    run = max(window.run + tally.leading, tally.longest)
    if run > limits.run_max:
        raise TooManyDeadLetters(StopReason.RUN, f"{run} dead letters in a row; the limit is {limits.run_max}")
    read, dead = window.read + tally.read, window.dead + tally.dead
    if read >= limits.ratio_min_events and dead > limits.ratio_max * read:
        raise TooManyDeadLetters(
            StopReason.RATIO, f"{dead} of the last {read} events are dead letters; the limit is {limits.ratio_max:.1%}"
        )


def get_most_dead(window: Window, *, read: int, limits: DeadLetterLimits) -> int:
    """Pure. Upper bound: more dead letters than this among `read` events pass a limit, so isolation may stop there."""
    total = window.read + read
    by_ratio = int(limits.ratio_max * total) - window.dead if total >= limits.ratio_min_events else read
    return max(by_ratio, 0, window.allowance)


def lock_window(
    connection: Connection, *, partition: int, old_position: str, epoch: int, state: str, limits: DeadLetterLimits
) -> Window:
    """Raises PositionMoved if the compare-and-set of the flush would miss."""
    row = connection.execute(
        _SQL["lock_window"].text,
        {
            "partition": partition,
            "old_position": old_position,
            "epoch": epoch,
            "state": state,
            "window_seconds": limits.window_seconds,
        },
    ).fetchone()
    if row is None:
        raise PositionMoved(f"partition {partition} is no longer at {old_position}, epoch {epoch}")
    return Window(row["read"], row["dead"], row["run"], row["allowance"])


@dataclass(frozen=True, slots=True)
class WindowChange:
    """What a flush adds to the counters of a partition's row. `run_goes_on`: its dead letters follow those before."""

    read: int
    dead: int
    run: int
    run_goes_on: bool
    allowed: int


def build_window_change(tally: Tally, *, allowed: bool) -> WindowChange:
    """Dead letters that an operator has allowed add nothing."""
    if allowed:
        return WindowChange(tally.read, 0, 0, run_goes_on=False, allowed=tally.dead)
    return WindowChange(tally.read, tally.dead, tally.trailing, run_goes_on=tally.is_all_dead, allowed=0)


def stop_partition(
    connection: Connection, *, partition: int, old_position: str, epoch: int, reason: StopReason, detail: str
) -> bool:
    """False if the partition's position has moved or the partition is stopped already."""
    return bool(
        connection.execute(
            _SQL["stop_partition"].text,
            {
                "partition": partition,
                "old_position": old_position,
                "epoch": epoch,
                "reason": reason.value,
                "detail": detail,
            },
        ).rowcount
    )


def resume_partition(connection: Connection, *, partition: int, epoch: int, actor: str, allowance: int) -> bool:
    """Resume a stopped partition with an empty window. False if it is not stopped, or not at this epoch."""
    return bool(
        connection.execute(
            _SQL["resume_partition"].text,
            {"partition": partition, "epoch": epoch, "actor": actor, "allowance": allowance},
        ).rowcount
    )

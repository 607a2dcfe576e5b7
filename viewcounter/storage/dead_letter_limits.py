"""When dead letters are too many: a partition then stops rather than drain everything into them.

What a flush would dead-letter is held, inside its own transaction, against what the partition's row remembers:
events read and dead-lettered in a window of time, and dead-lettered in a row. Each partition stops for itself.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.storage.errors import PositionMoved, TooManyDeadLetters
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("dead_letters.sql")

READ_STOPPED = _SQL["read_stopped"]
"""Parameters: partitions. A row each that is stopped: partition, position, stop_reason, stop_detail, stopped_at."""

Connection = psycopg.Connection[Any]


class StopReason(StrEnum):
    RUN = "dead_letter_run"
    """More dead letters in a row than the limit."""
    RATIO = "dead_letter_ratio"
    """A larger part of the window's events than the limit."""
    ALL_REFUSED = "all_refused"
    """Every event tried was refused: the fault is not in the events."""
    REFUSED = "flush_refused"
    """The shard refuses the flush, whatever events are in it."""
    UNBOUNDED = "isolation_bound"
    """The bad events were not found within the bounds of time and trials."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """`run_max` dead letters in a row are borne; of `ratio_min_read` or more read in the window, `ratio_max`."""

    run_max: int
    ratio_max: float
    ratio_min_read: int
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What a flush reads and dead-letters: events, and log entries that cannot be read.

    `leading`, `longest` and `trailing` are the runs of dead letters at the start, anywhere and at the end.
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

    How many events an unreadable entry held is unknown: it counts as one, and in a run only if nothing else was read.
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
    """What the partition's row remembers. The next `allowance` dead letters are accepted without a limit."""

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
        raise TooManyDeadLetters(StopReason.RUN, f"{run} dead letters in a row, the limit is {limits.run_max}")
    read, dead = window.read + tally.read, window.dead + tally.dead
    if read >= limits.ratio_min_read and dead > limits.ratio_max * read:
        raise TooManyDeadLetters(
            StopReason.RATIO, f"{dead} of the last {read} events, the limit is {limits.ratio_max:.1%}"
        )


def get_most_dead(window: Window, *, read: int, limits: DeadLetterLimits) -> int:
    """Pure. More dead letters than this among `read` events would surely be too many: no use in finding them all."""
    total = window.read + read
    by_ratio = int(limits.ratio_max * total) - window.dead if total >= limits.ratio_min_read else read
    return max(by_ratio, 0, window.allowance)


def lock_window(
    connection: Connection, *, partition: int, old_position: str, epoch: int, state: str, limits: DeadLetterLimits
) -> Window:
    """Raises PositionMoved where the flush's compare-and-set would miss."""
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


def build_window_change(tally: Tally, *, allowed: bool, limits: DeadLetterLimits) -> dict[str, Any]:
    """Parameters of the compare-and-set: what this flush adds. Accepted dead letters leave no trace in the window."""
    return {
        "window_seconds": limits.window_seconds,
        "read": tally.read,
        "dead": 0 if allowed else tally.dead,
        "run": 0 if allowed else tally.trailing,
        "run_goes_on": tally.is_all_dead and not allowed,
        "allowed": tally.dead if allowed else 0,
    }


def stop_partition(
    connection: Connection, *, partition: int, old_position: str, epoch: int, reason: StopReason, detail: str
) -> bool:
    """False where the partition has gone on or is stopped already."""
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
    """Let a stopped partition go on, with an empty window. False for one that is not stopped, or not at this epoch."""
    return bool(
        connection.execute(
            _SQL["resume_partition"].text,
            {"partition": partition, "epoch": epoch, "actor": actor, "allowance": allowance},
        ).rowcount
    )

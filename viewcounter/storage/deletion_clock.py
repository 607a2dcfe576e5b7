"""The deletion clock, from which deletion by age measures: a system clock that jumps does not make it jump.

A wall clock set ahead by ten days, on one machine or on all of them, must not delete ten days of ids, minutes and raw
events: correcting the clock does not bring them back. Only the uptime of a machine never jumps.

Invariant: between two calls of one machine the horizon advances by at most twice the machine's uptime between them, and
by at most an hour more than that uptime; it never passes `now()` of the shard. After an outage of the whole cluster, or
a step of a clock, it catches up at twice the speed of time, or when an operator accepts the clock.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("deletion_clock.sql")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_THIS_PROCESS = f"process {uuid4()}"

GAIN_MAX = timedelta(hours=1)
"""Maximum gain of the horizon over a machine's uptime, in one call."""

DELETION_LAG_LOGGED = timedelta(hours=2)
"""A deletion clock that lags further behind its shard's clock is logged."""


@dataclass(frozen=True, slots=True)
class Uptime:
    """Uptime of a machine, suspended time included. Comparable between calls of the same `machine` only."""

    machine: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DeletionClock:
    """Deletion measures ages from `horizon`, which lags `behind_seconds` behind the shard's clock (negative: that clock
    was set back)."""

    horizon: datetime
    behind_seconds: float


def read_uptime() -> Uptime:
    """Since the boot of this machine; since the start of this process where the system does not tell."""
    try:
        return Uptime(_BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except (OSError, AttributeError):  # not Linux
        return Uptime(_THIS_PROCESS, time.monotonic())


def advance_deletion_clock(connection: psycopg.Connection[Any], uptime: Uptime) -> DeletionClock:
    """Advance the horizon by the uptime of this machine. Concurrent calls are safe: the furthest horizon is kept, and
    each of them is valid."""
    row = connection.execute(
        _SQL["advance_deletion_clock"].text,
        {"machine": uptime.machine, "up_seconds": uptime.seconds, "gain": GAIN_MAX},
    ).fetchone()
    connection.execute(_SQL["forget_machines"].text)
    return _build(row)


def accept_deletion_clock(connection: psycopg.Connection[Any]) -> DeletionClock:
    """Set the horizon to the shard's clock, which an operator has confirmed to be right."""
    connection.execute(_SQL["accept_deletion_clock"].text)
    return read_deletion_clock(connection)


def read_deletion_clock(connection: psycopg.Connection[Any]) -> DeletionClock:
    """Read it without advancing it."""
    return _build(connection.execute(_SQL["read_deletion_clock"].text).fetchone())


def _build(row: Any) -> DeletionClock:
    return DeletionClock(row["horizon"].astimezone(UTC), row["behind_seconds"])

"""The clock that deletion by age counts from: it cannot be made to jump by a clock that jumps.

A wall clock set ahead by ten days, on one machine or on all of them, must not delete ten days of ids, minutes and raw
events: what is deleted stays deleted when the clock is put right. Only how long a machine has been up never jumps.

Invariant: between two calls of one machine the horizon advances by at most twice the time that this machine has been up
between them, and by no more than an hour above that time; it never passes `now()` of the shard. After an outage of the
whole cluster, or a step of a clock, it follows at twice the speed of time, until an operator accepts the clock.
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
"""What the horizon may gain on the time that a machine vouches for, in one call."""


@dataclass(frozen=True, slots=True)
class Uptime:
    """How long a machine has been up, suspended time included. Comparable between calls of the same `machine` only."""

    machine: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DeletionClock:
    """Deletion counts ages back from `horizon`; the shard's clock is `behind_seconds` past it (negative: set back)."""

    horizon: datetime
    behind_seconds: float


def read_uptime() -> Uptime:
    """Of this machine's boot; where the system does not tell, of this process."""
    try:
        return Uptime(_BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except (OSError, AttributeError):  # not Linux
        return Uptime(_THIS_PROCESS, time.monotonic())


def advance_deletion_clock(connection: psycopg.Connection[Any], uptime: Uptime) -> DeletionClock:
    """As far as this machine can vouch for. Safe beside itself: the furthest word counts, and each is true."""
    row = connection.execute(
        _SQL["advance_deletion_clock"].text,
        {"machine": uptime.machine, "up_seconds": uptime.seconds, "gain": GAIN_MAX},
    ).fetchone()
    connection.execute(_SQL["forget_machines"].text)
    return _build(row)


def accept_deletion_clock(connection: psycopg.Connection[Any]) -> DeletionClock:
    """An operator says that the shard's clock is right: deletion counts from it now."""
    connection.execute(_SQL["accept_deletion_clock"].text)
    return read_deletion_clock(connection)


def read_deletion_clock(connection: psycopg.Connection[Any]) -> DeletionClock:
    """As it is, without advancing it."""
    return _build(connection.execute(_SQL["read_deletion_clock"].text).fetchone())


def _build(row: Any) -> DeletionClock:
    return DeletionClock(row["horizon"].astimezone(UTC), row["behind_seconds"])

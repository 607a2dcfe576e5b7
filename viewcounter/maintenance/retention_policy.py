"""Retention times of each kind of data. Pure; the system check compares settings by the same rules."""

from dataclasses import dataclass
from datetime import timedelta

from viewcounter.config import Config

CLOCK_MARGIN = timedelta(minutes=5)
"""Maximum difference between the clocks of gateways and log server."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Retention times, measured back from the watermark; `resolved` (dead letters, conflicts) from the clock.

    `guard`: ids are kept this much longer than events of their age are counted, since an event's time may be that far
    ahead of the log server's clock, which dates its id.
    """

    raw: timedelta
    ids: timedelta
    minutes: timedelta
    hours: timedelta
    resolved: timedelta
    guard: timedelta
    budget_seconds: float
    delete_rows: int
    drop_lock_seconds: float

    @classmethod
    def from_config(cls, config: Config) -> "RetentionPolicy":
        return cls(
            raw=timedelta(seconds=config.raw_retention_seconds),
            ids=timedelta(seconds=config.id_retention_seconds),
            minutes=timedelta(seconds=config.minute_retention_seconds),
            hours=timedelta(seconds=config.hour_retention_seconds),
            resolved=timedelta(seconds=config.resolved_retention_seconds),
            guard=timedelta(seconds=config.accept_future_seconds) + CLOCK_MARGIN,
            budget_seconds=config.retention_budget_seconds,
            delete_rows=config.retention_delete_rows,
            drop_lock_seconds=config.raw_drop_lock_seconds,
        )

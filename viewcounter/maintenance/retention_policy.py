"""How long each thing is kept: pure, and all that settings are checked against."""

from dataclasses import dataclass
from datetime import timedelta

from viewcounter.config import Config

CLOCK_MARGIN = timedelta(minutes=5)
"""How far the clocks of gateways and log may be apart."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long each thing is kept behind the watermark; `resolved` (dead letters, and conflicts) by the clock.

    `guard`: ids are kept this much longer than events of their age are counted, since the time of an event may lie
    that far ahead of the clock of the log, which dates its id.
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

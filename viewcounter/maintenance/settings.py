"""Settings of rollups, retention, sketches, audits, recounts and backups of the control database."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from runtime.settings import same_as, setting

CLOCK_MARGIN = timedelta(minutes=5)
"""How far the clocks of gateways and log may be apart."""


@dataclass(frozen=True, slots=True)
class RollupSettings:
    """Rollups of minutes into hours and days."""

    interval_seconds: float = setting(
        30.0, "Interval at which beat looks for hours to roll up and for dirty buckets to correct."
    )
    grace_seconds: float = setting(
        300.0,
        "Distance of the watermark from the end of an hour at which the hour is rolled up; events that arrive later"
        " mark their bucket dirty.",
    )
    budget_seconds: float = setting(5.0, "Time after which a rollup task ends, to be continued by the next one.")
    marks_max: int = setting(1000, "Maximum number of dirty buckets replaced in one transaction.")


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Retention: age at which stored rows are deleted."""

    interval_seconds: float = setting(600.0, "Interval at which beat looks for rows that are past their retention.")
    budget_seconds: float = setting(5.0, "Time after which a retention task ends, to be continued by the next one.")
    delete_rows: int = setting(2000, "Maximum number of rows of event ids deleted in one transaction.")
    drop_lock_seconds: float = setting(
        0.5,
        "Maximum wait for the lock that dropping a day of raw events takes, during which flushes wait too; then it is"
        " tried again later.",
    )
    raw_seconds: int = setting(
        7 * 86400,
        "Age at which raw events are deleted, by whole days; they stay longer where events as old may still arrive.",
    )
    raw_days_interval_seconds: float = setting(
        3600.0, "Interval at which the partitions for raw events of the coming days are created on every shard."
    )
    ids_seconds: int = setting(
        8 * 86400,
        "Age at which event ids are deleted. It must exceed the accept window; the difference is the time that an event"
        " may spend in a spool.",
    )
    minutes_seconds: int = setting(
        8 * 86400,
        "Age at which counts by minute are deleted, by whole days; at least as long as that of event ids.",
    )
    hours_seconds: int = setting(
        90 * 86400, "Age at which counts by hour are deleted; counts by day and totals are never deleted."
    )
    resolved_seconds: int = setting(30 * 86400, "Time for which resolved dead letters, and conflicts, are kept.")
    future_seconds: int = same_as("accept", "future_seconds", default=300)

    @property
    def raw(self) -> timedelta:
        return timedelta(seconds=self.raw_seconds)

    @property
    def ids(self) -> timedelta:
        return timedelta(seconds=self.ids_seconds)

    @property
    def minutes(self) -> timedelta:
        return timedelta(seconds=self.minutes_seconds)

    @property
    def hours(self) -> timedelta:
        return timedelta(seconds=self.hours_seconds)

    @property
    def resolved(self) -> timedelta:
        return timedelta(seconds=self.resolved_seconds)

    @property
    def guard(self) -> timedelta:
        """Ids are kept this much longer than events of their age are counted, since the time of an event may lie that
        far ahead of the clock of the log, which dates its id."""
        return timedelta(seconds=self.future_seconds) + CLOCK_MARGIN


@dataclass(frozen=True, slots=True)
class SketchSettings:
    """Sketches: unique viewers and percentiles."""

    interval_seconds: float = setting(15.0, "Interval at which beat looks for buckets whose sketches are due.")
    tasks_max: int = setting(
        1,
        "Maximum number of tasks that beat queues at once to make sketches; more need more workers, or drains wait for"
        " them.",
    )
    budget_seconds: float = setting(
        3.0, "Time after which a task that makes sketches ends, to be continued by the next."
    )
    max_events: int = setting(
        200_000,
        "Maximum number of raw events read at once to make sketches; the events of a video that has more are read"
        " minute by minute.",
    )
    max_keys: int = setting(500, "Maximum number of sketches that are made, or merged from hours to days, at once.")
    future_seconds: int = same_as("accept", "future_seconds", default=300)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Audits of counts against raw events."""

    interval_seconds: float = setting(3600.0, "Interval at which every partition is audited.")
    closed_hours: int = setting(2, "Number of hours, the last ones closed, that each audit compares.")
    older_hours: int = setting(
        4, "Number of older hours of the accept window that each audit compares, different ones each time.", ge=0
    )
    total_videos: int = setting(
        50, "Number of videos whose all-time totals each audit compares, different ones each time."
    )
    max_differences: int = setting(100, "Maximum number of differing rows that one audit lists; all are counted.")
    request_seconds: float = setting(20.0, "Maximum duration of one audit requested by the API, over all shards.")
    window_seconds: int = same_as("accept", "past_seconds", default=7 * 86400)
    future_seconds: int = same_as("accept", "future_seconds", default=300)


@dataclass(frozen=True, slots=True)
class RecountSettings:
    """Recounts of a partition from its raw events."""

    interval_seconds: float = setting(15.0, "Interval at which beat looks for recounts to start or to continue.")
    budget_seconds: float = setting(20.0, "Time after which a recount task ends, to be continued by the next one.")
    lease_seconds: int = setting(30, "Time after which a recount whose worker died is continued by another one.")
    range_videos: int = setting(200, "Maximum number of videos that a recount compares in one snapshot.")
    max_differences: int = setting(2000, "Maximum number of rows that a recount repairs between two comparisons.")
    listed_differences: int = setting(100, "Maximum number of rows of each table that a recount lists as different.")
    max_items: int = setting(50, "Maximum number of recounts in one answer of the API, newest first.")
    future_seconds: int = same_as("accept", "future_seconds", default=300)


@dataclass(frozen=True, slots=True)
class ControlBackupSettings:
    """Backups of the control database."""

    folder: Path | None = setting(
        None,
        "Folder of the dumps of the control database, on another disk than the database; unset: workers make none."
        " Every host with a worker of the queue maintenance needs the same folder, for example a network file system.",
    )
    bin_dir: Path | None = setting(
        None, "Folder of the programs pg_dump and pg_restore; unset: they are searched in PATH."
    )
    interval_seconds: float = setting(6 * 3600.0, "Age of the newest backup at which a worker makes the next one.")
    check_seconds: float = setting(
        120.0,
        "Interval at which a worker looks whether a backup is due, verifies one that is not verified, and measures its"
        " age.",
    )
    keep_count: int = setting(
        28, "Number of backups that are kept; the newest verified one is kept even when it is older."
    )
    seconds_max: float = setting(
        240.0, "Maximum duration of one backup with its verification; then it is given up and tried again later."
    )

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.interval_seconds)

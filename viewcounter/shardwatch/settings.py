"""Settings of the record of killed sessions."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class KillRecordSettings:
    """Record of killed sessions."""

    max_waiting: int = setting(
        1000,
        "Maximum number of kills that run_shardproxy keeps in memory while the control database is unavailable; beyond"
        " it the oldest are dropped.",
    )
    retention_seconds: int = setting(30 * 86400, "Age at which kills are deleted from the control database.")
    max_items: int = setting(500, "Maximum number of kills in one answer of the API.")

"""Settings of dead letters and conflicts, and of the search for bad events."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class DeadLetterSettings:
    """Dead letters and conflicts."""

    interval_seconds: float = setting(15.0, "Interval at which dead letters are counted for the metrics.")
    max_items: int = setting(500, "Maximum number of dead letters in one answer of the API or in one bulk replay.")
    conflicts_max_items: int = setting(500, "Maximum number of conflicts in one answer of the API.")


@dataclass(frozen=True, slots=True)
class IsolationSettings:
    """Search for the bad events of a flush that a shard refuses."""

    max_seconds: float = setting(
        20.0, "Maximum duration of the search for the bad events of a flush; then the partition stops counting."
    )
    max_trials: int = setting(
        2000,
        "Maximum number of parts of a flush that the search for bad events tries; then the partition stops counting.",
    )

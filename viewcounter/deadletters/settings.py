"""Settings of dead letters and conflicts."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class DeadLetterSettings:
    """Dead letters and conflicts."""

    interval_seconds: float = setting(30.0, "Interval at which dead letters are counted for the metrics.")
    max_items: int = setting(500, "Maximum number of dead letters in one answer of the API or in one bulk replay.")
    conflicts_max_items: int = setting(500, "Maximum number of conflicts in one answer of the API.")

"""Settings of the limits that are applied in transactions on a shard."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """Dead letters beyond which a partition stops counting."""

    run_max: int = setting(100, "Maximum number of dead letters in a row; beyond it the partition stops counting.")
    ratio_max: float = setting(
        0.05,
        "Largest part of the events of the time window, from 0 to 1, that may become dead letters; beyond it the"
        " partition stops counting.",
        gt=0,
        le=1,
    )
    ratio_min_events: int = setting(
        1000, "Number of events in the time window from which on the largest part of dead letters is enforced."
    )
    window_seconds: float = setting(
        3600.0, "Length of the time window over which the part of dead letters is computed."
    )

"""System check: retention settings that contradict each other are refused before anything is deleted."""

from typing import Any

from django.core.checks import CheckMessage, Error

from viewcounter.config import Config, get_config
from viewcounter.maintenance.retention_policy import CLOCK_MARGIN

RETENTION = "retention"
"""The tag of the check."""


def check_retention(**_options: Any) -> list[CheckMessage]:
    """Django system check; see decision 0005."""
    return find_contradictions(get_config())


def find_contradictions(config: Config) -> list[CheckMessage]:
    margin = round(CLOCK_MARGIN.total_seconds())
    ids_needed = config.accept_window_seconds + config.accept_future_seconds + 2 * margin
    found: list[CheckMessage] = []
    if config.id_retention_seconds < ids_needed:
        found.append(
            Error(
                f"id_retention_seconds is {config.id_retention_seconds}, the accept window needs {ids_needed}.",
                hint="An event sent again within the accept window would be counted twice or refused.",
                id="viewcounter.E001",
            )
        )
    if config.minute_retention_seconds < config.id_retention_seconds:
        found.append(
            Error(
                f"minute_retention_seconds is {config.minute_retention_seconds}, less than id_retention_seconds "
                f"({config.id_retention_seconds}).",
                hint="A late event could not be added to an hour whose minutes are gone.",
                id="viewcounter.E002",
            )
        )
    if config.hour_retention_seconds < config.minute_retention_seconds + 86400:
        found.append(
            Error(
                f"hour_retention_seconds is {config.hour_retention_seconds}; it must be at least a day more than "
                f"minute_retention_seconds ({config.minute_retention_seconds}).",
                hint="A day is made from its hours, which are made from minutes.",
                id="viewcounter.E003",
            )
        )
    return found

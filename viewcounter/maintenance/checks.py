"""System check: retention settings that contradict each other are refused before anything is deleted."""

from typing import Any

from django.core.checks import CheckMessage, Error

from viewcounter.config import Config, get_config
from viewcounter.maintenance.settings import CLOCK_MARGIN

RETENTION = "retention"
"""The tag of the check."""


def check_retention(**_options: Any) -> list[CheckMessage]:
    """Django system check; see decision 0005."""
    return find_contradictions(get_config())


def find_contradictions(config: Config) -> list[CheckMessage]:
    margin = round(CLOCK_MARGIN.total_seconds())
    ids_needed = config.accept.past_seconds + config.accept.future_seconds + 2 * margin
    kept = config.retention
    ids, minutes, hours = kept.ids_seconds, kept.minutes_seconds, kept.hours_seconds
    found: list[CheckMessage] = []
    if ids < ids_needed:
        found.append(
            Error(
                f"VIEWCOUNTER_RETENTION_IDS_SECONDS is {ids}, the accept window needs {ids_needed}.",
                hint="An event sent again within the accept window would be counted twice or refused.",
                id="viewcounter.E001",
            )
        )
    if minutes < ids:
        found.append(
            Error(
                f"VIEWCOUNTER_RETENTION_MINUTES_SECONDS is {minutes},"
                f" less than VIEWCOUNTER_RETENTION_IDS_SECONDS ({ids}).",
                hint="A late event could not be added to an hour whose minutes are gone.",
                id="viewcounter.E002",
            )
        )
    if hours < minutes + 86400:
        found.append(
            Error(
                f"VIEWCOUNTER_RETENTION_HOURS_SECONDS is {hours}; it must be at least a day more than"
                f" VIEWCOUNTER_RETENTION_MINUTES_SECONDS ({minutes}).",
                hint="A day is made from its hours, which are made from minutes.",
                id="viewcounter.E003",
            )
        )
    return found

"""A log server that must not be used is found before it is: `manage.py check --deploy`."""

from typing import Any

from django.core.checks import CheckMessage, Error, Info
from django.utils.module_loading import import_string

from viewcounter.eventlog.errors import EventLogError, LogUnfit


def check_event_log(**_options: Any) -> list[CheckMessage]:
    """Django system check; asks the server, so it is one of those for a deployment only.

    What it asks with is loaded then: every process registers checks when it starts.
    """
    try:
        import_string("viewcounter.eventlog.registry.get_event_log")().check()
    except LogUnfit as error:
        return [Error(f"The event log cannot be used: {error}.", hint=f"{error.remedy}.", id="viewcounter.E010")]
    except EventLogError as error:
        return [Info(f"The event log does not answer and was not checked: {error}.", id="viewcounter.I010")]
    return []

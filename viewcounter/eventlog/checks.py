"""Checks of the log server before it is used: `manage.py check --deploy`."""

from typing import Any

from django.core.checks import CheckMessage, Error, Info
from django.utils.module_loading import import_string

from viewcounter.eventlog.errors import EventLogError, LogUnfit


def check_event_log(**_options: Any) -> list[CheckMessage]:
    """Django system check, for deployments only, because it connects to the log server.

    Imports the client only when it runs: every process registers checks when it starts.
    """
    try:
        import_string("viewcounter.eventlog.registry.get_event_log")().check()
    except LogUnfit as error:
        return [Error(f"The event log cannot be used: {error}.", hint=f"{error.remedy}.", id="viewcounter.E010")]
    except EventLogError as error:
        return [Info(f"The event log does not answer and was not checked: {error}.", id="viewcounter.I010")]
    return []

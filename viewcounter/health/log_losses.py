"""Recorded losses of the event log, for callers that must not block on the control database."""

from functools import cache

from django.db import close_old_connections

from configservice.errors import ControlDatabaseUnavailable
from configservice.models import LogLoss
from configservice.topology.event_log import list_losses
from runtime.timed_call import TimedCall

LISTED = 100
"""The most losses that one call returns; the admin lists all."""


def find_losses(*, timeout_seconds: float) -> list[LogLoss] | None:
    """The newest losses, newest first; None if the control database does not answer in time."""
    call = get_timed_call()
    call.start()
    try:
        return call.finish(timeout_seconds=timeout_seconds)
    except (ControlDatabaseUnavailable, TimeoutError):
        return None


@cache
def get_timed_call() -> "TimedCall[list[LogLoss]]":
    """This process's only one, so that at most one thread waits for the control database."""
    return TimedCall("log-losses", _query)


def _query() -> list[LogLoss]:
    try:
        return list_losses(limit=LISTED)
    finally:
        close_old_connections()  # this thread serves no request, so Django does not close its connections

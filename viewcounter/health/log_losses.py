"""What the event log has lost, for those who must not wait for the control database."""

from functools import cache

from django.db import close_old_connections

from configservice.errors import ControlDatabaseUnavailable
from configservice.models import LogLoss
from configservice.topology.event_log import list_losses
from runtime.timed_call import TimedCall

LISTED = 100
"""Losses told at once; the admin has all of them."""


def find_losses(*, timeout_seconds: float) -> list[LogLoss] | None:
    """The newest, newest first; None where the control database does not answer in time."""
    question = get_question()
    question.start()
    try:
        return question.finish(timeout_seconds=timeout_seconds)
    except (ControlDatabaseUnavailable, TimeoutError):
        return None


@cache
def get_question() -> "TimedCall[list[LogLoss]]":
    """The one of this process."""
    return TimedCall("log-losses", _ask)


def _ask() -> list[LogLoss]:
    try:
        return list_losses(limit=LISTED)
    finally:
        close_old_connections()  # we run in a thread that lives outside any request

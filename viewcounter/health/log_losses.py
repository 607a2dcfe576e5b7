"""Recorded losses of the event log, for callers that must not block on the control database."""

from configservice.topology.event_log import list_losses
from viewcounter.health.control_query import ControlQuery

LISTED = 100
"""The most losses that one call returns; the admin lists all."""

LOSSES = ControlQuery("log-losses", lambda: list_losses(limit=LISTED))
find_losses = LOSSES.find
"""The newest losses, newest first; None if the control database does not answer in time."""

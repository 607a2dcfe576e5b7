"""Reports an unfit log server: a metric, a log line, and a record of its losses."""

import logging
import time
from collections.abc import Mapping

from django.db import DatabaseError

from configservice.topology.event_log import Loss, record_losses
from configservice.topology.model import Topology
from runtime.metrics import LOG_UNFIT
from viewcounter.eventlog.errors import LogClockSkewed, LogLost, LogUnfit, LogUnsafe
from viewcounter.eventlog.interface import EventLog, Position

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
ACTOR = "worker"

_reported_at: dict[str, float] = {}
"""Time of this process's last report, by code."""


def watch_log(log: EventLog) -> None:
    """Set the gauges. Raises EventLogError."""
    found = ""
    try:
        log.check()
    except LogUnfit as error:
        found = error.code
        report_unfit_log(error)
        raise
    finally:
        for kind in (LogClockSkewed, LogLost, LogUnsafe):
            LOG_UNFIT.labels(kind.code).set(kind.code == found)


def report_unfit_log(error: LogUnfit) -> None:
    """Log at most once a minute per process: beat sends the task twice a second."""
    now = time.monotonic()
    if now - _reported_at.get(error.code, -REPEAT_SECONDS) >= REPEAT_SECONDS:
        _reported_at[error.code] = now
        logger.error("the event log cannot be used, no event is accepted or counted: %s; %s", error, error.remedy)


def record_lost_ends(topology: Topology, raised: Mapping[int, Position]) -> None:
    """Record the partitions whose log ended before the applied position. They have been logged before."""
    if not raised:
        return
    losses = [Loss(p, topology.get_shard_of(p).name, str(position)) for p, position in sorted(raised.items())]
    try:
        record_losses(
            losses, log_id=topology.log_id, actor=ACTOR, reason="the log ended before what had been applied of it"
        )
    except DatabaseError as error:
        logger.error("a loss of the event log could not be recorded: %s", error)

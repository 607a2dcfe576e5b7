"""Reports an unfit log server by a metric and a log line."""

import logging
import time

from runtime.metrics import LOG_UNFIT
from viewcounter.eventlog.errors import LogClockSkewed, LogLost, LogUnfit, LogUnsafe
from viewcounter.eventlog.interface import EventLog

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0

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
    """Log at most once a minute per process: every shard of a process finds out, again and again."""
    now = time.monotonic()
    if now - _reported_at.get(error.code, -REPEAT_SECONDS) >= REPEAT_SECONDS:
        _reported_at[error.code] = now
        logger.error("the event log cannot be used, no event is accepted or counted: %s; %s", error, error.remedy)

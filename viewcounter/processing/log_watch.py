"""Reports an unfit log server by a metric and a log line; repairs a log that lost its end and records the loss."""

import logging
import time
from collections.abc import Mapping

from django.db import DatabaseError, close_old_connections

from configservice.topology.event_log import Loss, record_losses
from configservice.topology.model import Topology
from runtime.metrics import LOG_ENDS_RAISED, LOG_UNFIT
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
    """Log at most once a minute per process: every shard of a process finds out, again and again."""
    now = time.monotonic()
    if now - _reported_at.get(error.code, -REPEAT_SECONDS) >= REPEAT_SECONDS:
        _reported_at[error.code] = now
        logger.error("the event log cannot be used, no event is accepted or counted: %s; %s", error, error.remedy)


def repair_lost_ends(topology: Topology, log: EventLog, lost: Mapping[int, Position]) -> None:
    """For partitions whose log ends before their applied positions: continue above those, and record the loss. May
    raise LogUnfit or another error of the log."""
    _record_losses(topology, _raise_ends(log, lost))


def _raise_ends(log: EventLog, lost: Mapping[int, Position]) -> dict[int, Position]:
    """Positions must only grow: lift the end of a log that lost its entries above the applied position.

    Returns the partitions whose ends were lifted, which have lost something. Entries that the log still holds are read
    again.
    """
    raised = {}
    for partition, position in lost.items():
        moved_count = log.raise_tail(partition, to=position)
        if moved_count is not None:
            raised[partition] = position
            LOG_ENDS_RAISED.inc()
            logger.error(
                "the log of partition %d ended before the applied position %s: its server has lost entries. What was "
                "acknowledged after that position and is not in the log is lost; new entries, and the %d that it still "
                "holds, follow that position",
                partition,
                position,
                moved_count,
            )
    return raised


def _record_losses(topology: Topology, raised: Mapping[int, Position]) -> None:
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
    finally:
        close_old_connections()  # we run in a thread that lives outside any request

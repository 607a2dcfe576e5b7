"""Failed tasks: counted each time, logged when a kind of task begins to fail and when it works again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from runtime.metrics import TASK_FAILURES
from runtime.transitions import OutageLog
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.lag_notice import LagUnknown
from viewcounter.processing.errors import DrainError
from viewcounter.storage.errors import PartitionBeingMoved, StorageError

logger = logging.getLogger(__name__)

UNAVAILABLE = (
    EventLogError,
    ClusterProxyError,
    ShardProxyError,
    StorageError,
    DrainError,
    LagUnknown,
    DatabaseError,
)
"""A dependency is down, or another process works on the partition. The events wait in the log, beat sends the task
again, and the breakers keep each attempt short."""
QUIET_SECONDS = 60.0
"""Tasks of one kind are for different partitions, and those of one shard may fail while the others succeed."""

_outages: dict[str, OutageLog] = {}
"""By name of task; of this process, whose tasks run one after another."""


@contextmanager
def postponed(task: str, effect: str, *, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Work that beat repeats: failures of dependencies are counted, the first one of an outage is logged.

    `expected`: errors of this task beside those of `UNAVAILABLE`.
    """
    outage = get_outage(task)
    try:
        yield
    except PartitionBeingMoved as error:
        logger.info("%s: %s", effect, error)
    except (*UNAVAILABLE, *expected) as error:
        TASK_FAILURES.labels(task).inc()
        outage.report_failure(f"{effect}: {error}")
    else:
        outage.report_success()


def get_outage(task: str) -> OutageLog:
    if task not in _outages:
        _outages[task] = OutageLog(
            logger,
            failed=f"task {task} fails and is repeated",
            recovered=f"task {task} succeeds again",
            quiet_seconds=QUIET_SECONDS,
        )
    return _outages[task]

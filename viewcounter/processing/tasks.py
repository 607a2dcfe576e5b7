"""Celery tasks of drains and of the log; each is finite and may be lost, repeated or late.

`schedule` says when beat sends them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from celery import shared_task
from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from runtime.metrics import LOG_ENTRIES_TRIMMED, TASK_FAILURES
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.eventlog.errors import EventLogError, LogUnfit
from viewcounter.eventlog.lag_notice import LagUnknown
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.dispatch import (
    accept_arrivals,
    group_by_shard,
    publish_watermarks,
    read_backlog,
    repair_log,
)
from viewcounter.processing.errors import DrainError
from viewcounter.processing.log_watch import record_lost_ends, report_unfit_log
from viewcounter.processing.trimming import trim_log_everywhere
from viewcounter.processing.worker import get_applied_earlier, get_drain_queue, run_drain
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


@contextmanager
def postponed(task: str, effect: str) -> Iterator[None]:
    """Work that beat repeats: a failed dependency becomes a log line with its effect, and a count."""
    try:
        yield
    except PartitionBeingMoved as error:
        logger.info("%s: %s", effect, error)
    except UNAVAILABLE as error:
        TASK_FAILURES.labels(task).inc()
        logger.warning("%s: %s", effect, error)


@shared_task(name="dispatch_drains")
def dispatch_drains() -> None:
    """Queue a drain for each partition that has unread entries and none queued or running."""
    with postponed("dispatch_drains", "cannot find the partitions with unread entries"):
        try:
            backlog = read_backlog(get_cluster(), get_event_log())
            if backlog.lost:
                record_lost_ends(get_cluster().topology, repair_log(get_event_log(), backlog.lost))
        except LogUnfit as error:
            TASK_FAILURES.labels("dispatch_drains").inc()
            report_unfit_log(error)
            return
        if backlog.arrived:
            accept_arrivals(get_cluster(), backlog.arrived)
        for partition in get_drain_queue().claim(group_by_shard(get_cluster().topology, backlog.unread)):
            drain.delay(partition)


@shared_task(name="drain")
def drain(partition: int) -> None:
    """Apply the log to one partition; see processing.drain."""
    with postponed("drain", f"partition {partition} waits"):
        run_drain(partition)


@shared_task(name="advance_idle_watermarks")
def advance_idle_watermarks() -> None:
    """Advance the watermarks of partitions that have applied their whole log."""
    cluster = get_cluster()
    with postponed("advance_idle_watermarks", "watermarks of idle partitions are not advanced"):
        publish_watermarks(cluster, read_backlog(cluster, get_event_log()))


@shared_task(name="trim_log")
def trim_log() -> None:
    """Trim log entries that every promotable copy of their shard has applied."""
    with postponed("trim_log", "the log is not trimmed"):
        trimmed = trim_log_everywhere(
            get_cluster(), get_event_log(), now=datetime.now(UTC), earlier=get_applied_earlier()
        )
        LOG_ENTRIES_TRIMMED.inc(trimmed)
        logger.info("trimmed %d log entries", trimmed)

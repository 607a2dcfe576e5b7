"""Celery tasks of drains and of the log; each is finite and may be lost, repeated or late.

`schedule` says when beat sends them.
"""

import logging
from datetime import UTC, datetime

from celery import shared_task

from runtime.metrics import LOG_ENTRIES_TRIMMED, TASK_FAILURES
from viewcounter.cluster import get_cluster
from viewcounter.eventlog.errors import LogUnfit
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.dispatch import (
    accept_arrivals,
    group_by_shard,
    publish_watermarks,
    read_backlog,
    repair_log,
)
from viewcounter.processing.log_watch import record_lost_ends, report_unfit_log
from viewcounter.processing.task_outages import postponed
from viewcounter.processing.trimming import trim_log_everywhere
from viewcounter.processing.worker import get_applied_earlier, get_drain_queue, run_drain

logger = logging.getLogger(__name__)


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
        if trimmed:
            logger.info("trimmed %d log entries", trimmed)

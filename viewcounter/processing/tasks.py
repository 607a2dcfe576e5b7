"""Celery tasks of the log, and how tasks fail; each is finite and may be lost, repeated or late.

`schedule` says when beat sends them.
"""

import logging
from datetime import UTC, datetime

from celery import shared_task

from runtime.metrics import LOG_ENTRIES_TRIMMED
from viewcounter.cluster import get_cluster
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.task_outages import postponed
from viewcounter.processing.trimming import trim_log_everywhere
from viewcounter.processing.worker import get_applied_earlier

logger = logging.getLogger(__name__)


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

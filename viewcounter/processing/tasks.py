"""Celery tasks of the log, and how tasks fail; each is finite and may be lost, repeated or late.

`schedule` says when beat sends them.
"""

import logging

from celery import shared_task

from runtime.metrics import LOG_ENTRIES_TRIMMED
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.task_outages import postponed
from viewcounter.processing.trimming import trim_log_everywhere

logger = logging.getLogger(__name__)


@shared_task(name="trim_log")
def trim_log() -> None:
    """Trim log entries that every promotable copy of their shard has applied."""
    with postponed("trim_log", "the log is not trimmed"):
        trimmed = trim_log_everywhere(get_cluster(), get_event_log(), safety_seconds=get_config().trim.safety_seconds)
        LOG_ENTRIES_TRIMMED.inc(trimmed)
        if trimmed:
            logger.info("trimmed %d log entries", trimmed)

"""Celery tasks about moves of partitions. Each is one domain call, finite, and may be lost, repeated or late.

`processing.schedule` says when beat sends them.
"""

import logging

from celery import shared_task
from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from runtime.metrics import TASK_FAILURES
from runtime.shutdown import is_stopping
from shardproxy.errors import ShardProxyError
from viewcounter.config import get_config
from viewcounter.moves.errors import MoverStopping
from viewcounter.moves.metrics import publish_unfinished
from viewcounter.moves.scheduler import build_tools, resume_abandoned

logger = logging.getLogger(__name__)


@shared_task(name="resume_abandoned_moves")
def resume_abandoned_moves() -> None:
    """Continue moves whose mover died while their partition takes no flushes, until it takes them again."""
    try:
        resume_abandoned(build_tools(get_config(), is_stopping=is_stopping))
    except MoverStopping:
        logger.info("stopping; abandoned moves are left to the next worker")
    except (DatabaseError, ClusterProxyError, ShardProxyError) as error:
        TASK_FAILURES.labels("resume_abandoned_moves").inc()
        logger.warning("cannot resume abandoned moves: %s", error)


@shared_task(name="measure_moves")
def measure_moves() -> None:
    """Set the gauges of unfinished moves."""
    try:
        publish_unfinished()
    except DatabaseError as error:
        TASK_FAILURES.labels("measure_moves").inc()
        logger.warning("cannot measure unfinished moves: %s", error)

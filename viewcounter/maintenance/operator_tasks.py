"""Celery tasks of operators' work. Each is one domain call, finite, and may be lost, doubled or late.

When beat sends them stands in `processing.schedule`.
"""

import logging

from celery import shared_task
from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from runtime.metrics import TASK_FAILURES
from shardproxy.errors import ShardProxyError
from viewcounter.config import get_config
from viewcounter.moves.errors import MoverStopping
from viewcounter.moves.metrics import publish_unfinished
from viewcounter.moves.scheduler import build_tools, resume_abandoned
from viewcounter.processing.shutdown import is_stopping

logger = logging.getLogger(__name__)


@shared_task(name="finish_hanging_moves")
def finish_hanging_moves() -> None:
    """Carry on with moves whose mover died while their partition counts nothing, until it does."""
    try:
        resume_abandoned(build_tools(get_config(), is_stopping=is_stopping))
    except MoverStopping:
        logger.info("the next worker goes on with moves that hang")
    except (DatabaseError, ClusterProxyError, ShardProxyError) as error:
        TASK_FAILURES.labels("finish_hanging_moves").inc()
        logger.warning("moves that hang go on hanging: %s", error)


@shared_task(name="measure_moves")
def measure_moves() -> None:
    """Let the metrics say which moves have not ended."""
    try:
        publish_unfinished()
    except DatabaseError as error:
        TASK_FAILURES.labels("measure_moves").inc()
        logger.warning("unfinished moves are not counted: %s", error)

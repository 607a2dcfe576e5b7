"""The Celery application. Tasks only point at work; what has been done stands in the shards.

Redis as a broker may lose, double or delay a task (kombu pops and records in two steps), so every task is
finite and may run twice, and beat re-issues whatever is still to do.
"""

import logging
import logging.config
import os
import time
from typing import Any

from celery import Celery, bootsteps
from celery.signals import (
    after_task_publish,
    beat_init,
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.settings")

from runtime.metric_files import fold_dead_processes, start_process_group
from viewcounter.config import get_config
from viewcounter.config.broker_tls import split_broker_url

_config = get_config()

# Before the first import of a metric, which decides where metrics are kept.
METRICS_FOLDER = _config.state_dir / "metrics"
start_process_group(METRICS_FOLDER)

from configservice.registry.heartbeat import start_heartbeat  # noqa: E402
from configservice.registry.services import ServiceKind  # noqa: E402
from runtime.http.metrics_server import start_process_server  # noqa: E402
from runtime.metrics import TASK_FAILURES, TASK_SECONDS, TASKS_SENT  # noqa: E402
from runtime.shutdown import request_stop  # noqa: E402
from viewcounter.processing.pull_supervisor import PullSupervisor  # noqa: E402
from viewcounter.processing.schedule import MAINTENANCE, QUEUES, TASK_ROUTES, build_schedule  # noqa: E402

_broker_url, _broker_tls = split_broker_url(_config.broker.url.get_secret_value())
# Without Celery's fixup for Django, which would set up Django in beat too: see `_load_tasks`.
app = Celery("viewcounter", broker=_broker_url, fixups=[])
app.conf.update(
    broker_use_ssl=_broker_tls,
    task_queues={name: {} for name in QUEUES},
    task_default_queue=MAINTENANCE,
    task_create_missing_queues=False,
    task_routes=TASK_ROUTES,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,  # a lost task is sent again by beat; a redelivered one would only queue
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    task_soft_time_limit=_config.worker.task_seconds,
    task_time_limit=_config.worker.task_seconds + 10,
    task_annotations={  # it ends by itself before that
        "backup_control": {
            "soft_time_limit": _config.control_backup.seconds_max + 10,
            "time_limit": _config.control_backup.seconds_max + 20,
        }
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 300,
        "socket_timeout": _config.broker.timeout_seconds,
        "socket_connect_timeout": _config.broker.timeout_seconds,
        "health_check_interval": 10,
        "polling_interval": 10,  # of a blocking read, so that an idle worker is not woken every second
    },
    beat_schedule=build_schedule(_config),
    beat_scheduler="viewcounter.beat:LeasedScheduler",
    timezone="UTC",
)
logger = logging.getLogger(__name__)


class PullProcesses(bootsteps.StartStopStep):
    """Pull processes beside the pool. They start before the worker has reached the broker, and do not need it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self.enabled = _config.pull.processes > 0
        self._supervisor = PullSupervisor(process_count=_config.pull.processes)
        super().__init__(worker)

    def start(self, _worker: Any) -> None:
        self._supervisor.start()

    def close(self, _worker: Any) -> None:
        """At the begin of a shutdown, so that they stop while the pool ends its tasks."""
        self._supervisor.request_stop()

    def stop(self, _worker: Any) -> None:
        """At a warm and a cold shutdown."""
        self._supervisor.request_stop()
        self._supervisor.wait(within_seconds=_config.pull.stop_seconds + _config.pull.lease_seconds)

    terminate = stop


app.steps["worker"].add(PullProcesses)


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    """As in every other process. Levels are those of our settings; Celery's `--loglevel` has no effect."""
    logging.config.dictConfig(settings.LOGGING)


_fixups: list[Any] = []
"""Receivers of Celery's signals, which Celery itself only refers to weakly."""


@worker_init.connect
def _load_tasks(sender: Any, **_: Any) -> None:
    """In workers alone: beat sends tasks by their names, and needs neither what they do nor Django.

    Celery would log an error of a handler and go on, with a worker that knows no task.
    """
    try:
        import django  # noqa: PLC0415 - see above
        from celery.fixups.django import DjangoFixup  # noqa: PLC0415

        django.setup()
        fixup = DjangoFixup(app).worker_fixup  # ends connections to the control database after each task and fork
        fixup.worker = sender
        _fixups.append(fixup.install())
        from viewcounter.maintenance import tasks as _maintenance  # noqa: F401, PLC0415 - Django is set up by now
        from viewcounter.processing import tasks as _processing  # noqa: F401, PLC0415
    except Exception as error:
        logger.exception("the tasks cannot be loaded")
        raise SystemExit(1) from error


@worker_ready.connect
def _serve_worker_metrics(**_: Any) -> None:
    """For hosts without a web process: the worker's main process answers Prometheus, if an address is set."""
    if _config.worker.metrics_bind:
        start_process_server(_config.worker.metrics_bind)


@beat_init.connect
def _serve_beat_metrics(**_: Any) -> None:
    if _config.beat.metrics_bind:
        start_process_server(_config.beat.metrics_bind)


@worker_ready.connect
def _register_worker(**_: Any) -> None:
    """The worker's main process stands for its pool."""
    from viewcounter.health.registration import start_worker_heartbeat  # noqa: PLC0415 - as the tasks, needs Django

    start_worker_heartbeat()


@beat_init.connect
def _register_scheduler(**_: Any) -> None:
    if not _config.cluster.id:  # then the control database is asked for it
        import django  # noqa: PLC0415

        django.setup()
    start_heartbeat(kind=ServiceKind.SCHEDULER)


@worker_shutting_down.connect
def _end_tasks(**_: Any) -> None:
    """In the main process; the pool processes see it too."""
    request_stop()


@worker_process_init.connect
def _fold_metric_files(**_: Any) -> None:
    """A pool process starts, so one may have died: what it counted outlives it, its files do not."""
    fold_dead_processes(METRICS_FOLDER)


@after_task_publish.connect
def _count_sent(sender: str, **_: Any) -> None:
    """In beat, and wherever one task queues another."""
    TASKS_SENT.labels(sender).inc()


@task_prerun.connect
def _start_clock(task: Any, **_: Any) -> None:
    task.request.started_at_seconds = time.monotonic()


@task_postrun.connect
def _observe_task(task: Any, **_: Any) -> None:
    TASK_SECONDS.labels(task.name).observe(time.monotonic() - task.request.started_at_seconds)


@task_failure.connect
def _count_failure(sender: Any, **_: Any) -> None:
    """What a task did not expect; what it did it has counted itself."""
    TASK_FAILURES.labels(sender.name).inc()

"""The Celery application. Tasks only point at work; what has been done stands in the shards.

Redis as a broker may lose, double or delay a task (kombu pops and records in two steps), so every task is
finite and may run twice, and beat re-issues whatever is still to do.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.settings")

from viewcounter.config import get_config
from viewcounter.metric_files import start_process_group

_config = get_config()

# Before the tasks import a metric: the first import decides where metrics are kept.
start_process_group(_config.state_dir / "metrics")

app = Celery("viewcounter", broker=_config.broker_url.get_secret_value())
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,  # a lost drain is re-issued by beat within a second; a redelivered one would only queue
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    task_soft_time_limit=_config.task_seconds,
    task_time_limit=_config.task_seconds + 10,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 300,
        "socket_timeout": _config.broker_timeout_seconds,
        "socket_connect_timeout": _config.broker_timeout_seconds,
        "health_check_interval": 10,
    },
    beat_max_loop_interval=1,
    timezone="UTC",
)
app.autodiscover_tasks(["viewcounter.processing"])


@app.on_after_finalize.connect
def _schedule_periodic_tasks(sender: Celery, **_: object) -> None:
    # Imported here: the task module needs Django, which is set up while the application finalizes.
    from viewcounter.processing.tasks import schedule_periodic_tasks  # noqa: PLC0415

    schedule_periodic_tasks(sender)


@worker_ready.connect
def _serve_metrics(**_: Any) -> None:
    """For hosts without a web process: the worker's main process answers Prometheus, if an address is set."""
    if not _config.worker_metrics_bind:
        return
    # Imported here: a process that only sends tasks keeps no metrics.
    from prometheus_client import start_http_server  # noqa: PLC0415

    from viewcounter.metrics import get_host_registry  # noqa: PLC0415

    host, _separator, port = _config.worker_metrics_bind.rpartition(":")
    start_http_server(int(port), host, registry=get_host_registry())

"""gunicorn's settings: one ASGI process a core, stopped without cutting a request.

gunicorn --config viewcounter/web/gunicorn_conf.py viewcounter.web.asgi:application
"""

from typing import Any

from runtime.logs import build_logging
from runtime.metric_files import fold_dead_processes, start_process_group
from viewcounter.config import get_config

_config = get_config()

METRICS_FOLDER = _config.state_dir / "metrics"
# Before the workers import a metric: the first import decides where metrics are kept.
start_process_group(METRICS_FOLDER)

bind = _config.web.bind
worker_class = "viewcounter.web.worker.BoundedUvicornWorker"
workers = _config.web.workers
# Pools, clients and the event loop belong to a worker: nothing is opened before the fork.
preload_app = False
timeout = _config.web.silent_seconds
graceful_timeout = _config.web.graceful_seconds
# Longer than the idle time of usual load balancers, so that it is never we who close a connection in use.
keepalive = 75
backlog = 2048
# uvicorn believes X-Forwarded-For of these, and only with `site.behind_tls_proxy`: see web_worker.
forwarded_allow_ips = _config.site.proxy_addresses
accesslog = None  # viewcounter.web.request_log writes it
errorlog = "-"
logconfig_dict = build_logging(_config.log_level, _config.log_format)
control_socket_disable = True


def child_exit(server: Any, worker: Any) -> None:
    """gunicorn's hook, in the master process: what a worker has counted outlives it, its files do not."""
    try:
        fold_dead_processes(METRICS_FOLDER)
    except (OSError, ValueError) as error:
        server.log.warning("metric files of worker %s stay until the next scrape: %s", worker.pid, error)

"""gunicorn's settings: one ASGI process a core, stopped without cutting a request.

gunicorn --config viewcounter/gunicorn_conf.py viewcounter.asgi:application
"""

from viewcounter.config import get_config

_config = get_config()

bind = _config.web_bind
worker_class = "viewcounter.web_worker.BoundedUvicornWorker"
workers = _config.web_workers
# Pools, clients and the event loop belong to a worker: nothing is opened before the fork.
preload_app = False
timeout = _config.web_silent_seconds
graceful_timeout = _config.web_graceful_seconds
# Longer than the idle time of usual load balancers, so that it is never we who close a connection in use.
keepalive = 75
backlog = 2048
accesslog = None
errorlog = "-"
control_socket_disable = True

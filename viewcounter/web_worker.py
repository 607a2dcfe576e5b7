"""The gunicorn worker class: uvicorn with a bound on connections, which uvicorn itself has not."""

from typing import Any

from uvicorn_worker import UvicornWorker

from viewcounter.config import get_config


class BoundedUvicornWorker(UvicornWorker):
    """Past `web_max_connections`, a process answers 503 at once instead of taking on what it cannot serve."""

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": "httptools",
        "limit_concurrency": get_config().web_max_connections,
        "server_header": False,
    }

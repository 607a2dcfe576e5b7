"""The gunicorn worker class: uvicorn with bounds on connections and on the heads of requests."""

from typing import Any

from uvicorn_worker import UvicornWorker

from viewcounter.bounded_http import BoundedHttpProtocol, HeadLimits
from viewcounter.config import get_config

_config = get_config()


class WebProtocol(BoundedHttpProtocol):
    limits = HeadLimits(
        seconds=_config.web_head_seconds,
        max_bytes=_config.web_head_max_bytes,
        max_headers=_config.web_head_max_headers,
    )


class BoundedUvicornWorker(UvicornWorker):
    """Past `web_max_connections`, a process answers 503 at once instead of taking on what it cannot serve."""

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": WebProtocol,
        "ws": "none",
        "limit_concurrency": _config.web_max_connections,
        "server_header": False,
    }

"""The gunicorn worker class: uvicorn with bounds on connections and heads, and a stop that loses no request."""

import asyncio
import gc
import socket
import sys
from typing import Any

import uvicorn
from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from runtime.http.bounded_protocol import BoundedHttpProtocol
from viewcounter.config import get_config
from viewcounter.web.stopping import announce_stop

_config = get_config()

_CLOSE = (b"connection", b"close")
# A computing Django thread yields the interpreter to the event loop after this. Python's default of 5 ms, with two such
# threads and a hand-over to the log thread, adds tens of milliseconds to a POST; shorter intervals gain nothing.
_SWITCH_SECONDS = 0.001
_LOOK_SECONDS = 0.02


class WebProtocol(BoundedHttpProtocol):
    limits = _config.web.head


class LingeringServer(uvicorn.Server):
    """Stops in two steps. uvicorn closes every connection without a request in progress, also one whose next request is
    on the wire; so at first each response says `connection: close`, and clients reconnect to another process.

    New connections wait meanwhile in the backlog of the shared socket, until another worker accepts them.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        announce_stop()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _config.web.linger_seconds
        while self.server_state.connections and not self.force_exit and loop.time() < ends_at:
            await asyncio.sleep(_LOOK_SECONDS)
        await super().shutdown(sockets)


class BoundedUvicornWorker(UvicornWorker):
    """Past `web.max_connections`, a process answers 503 at once instead of accepting more than it can serve."""

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": WebProtocol,
        "ws": "none",
        "limit_concurrency": _config.web.max_connections,
        # uvicorn by itself believes X-Forwarded-Proto of every client on this host
        "proxy_headers": _config.site.behind_tls_proxy,
        "server_header": False,
    }

    async def _serve(self) -> None:
        """As the parent's, except for the class of the server."""
        self.config.app = self.wsgi
        server = LingeringServer(config=self.config)
        self._install_sigquit_handler()
        sys.setswitchinterval(_SWITCH_SECONDS)
        # Start-up objects live as long as the process: a full collection of them would stall in-flight requests.
        gc.collect()
        gc.freeze()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

"""`/metrics` and `/healthz` of a process that serves nothing else: workers, beat, shard proxies.

Without authentication, hence only where the operator binds it. Requests are bounded in number and time, so that no
client of the port can exhaust the process.
"""
# ruff: noqa: ARG002 (the arguments are the standard library's)

import json
import logging
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import BoundedSemaphore, Thread
from typing import Any

from prometheus_client import generate_latest

from runtime.metric_files import MetricFilesLocked
from runtime.metrics import CONTENT_TYPE, get_host_registry

logger = logging.getLogger(__name__)

CLIENT_SECONDS = 5.0
MAX_REQUESTS_AT_ONCE = 8

Health = tuple[bool, Mapping[str, Any]]
"""Whether the process is healthy, and the JSON object of the response."""


def be_healthy() -> Health:
    """For a process that is healthy if it answers."""
    return True, {"status": "ok"}


def start_process_server(bind: str, *, check_health: Callable[[], Health] = be_healthy) -> ThreadingHTTPServer:
    """Serves from background threads until the process ends, or `shutdown`. Raises OSError for a port in use."""
    host, _, port = bind.rpartition(":")

    class Handler(_Handler):
        health = staticmethod(check_health)

    server = _BoundedServer((host, int(port)), Handler)
    Thread(target=server.serve_forever, name="process-http", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    health: Callable[[], Health]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer_metrics()
        elif path == "/healthz":
            is_well, body = self.health()
            self._answer(200 if is_well else 503, "application/json", json.dumps(body).encode())
        else:
            self._answer(404, "text/plain", b"/metrics or /healthz\n")

    def _answer_metrics(self) -> None:
        try:
            self._answer(200, CONTENT_TYPE, generate_latest(get_host_registry()))
        except MetricFilesLocked as error:
            self._answer(503, "text/plain", f"{error}\n".encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not logged."""


class _BoundedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._free = BoundedSemaphore(MAX_REQUESTS_AT_ONCE)
        super().__init__(address, handler)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Closes connections past the bound."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Clients that disconnect or time out are normal."""
        logger.debug("a request to the process's own port failed", exc_info=True)

"""The outermost ASGI application: the id of a request, in its answer and in its log lines, and the access log."""

import logging
import time
from typing import Any

from runtime.http.asgi import AsgiApplication, Receive, Send
from runtime.logs import ACCESS_LOGGER, log_fields
from viewcounter.web.request import choose_request_id
from viewcounter.web.settings import AccessLog

logger = logging.getLogger(ACCESS_LOGGER)

_REQUEST_ID = b"x-request-id"
_FAILED = 400
_PATH_MAX_CHARS = 500
_ABANDONED = 499
"""Status in the access log of a request that was not answered, as nginx writes it."""


class RequestLog:
    """Invariant: a request has one id: whatever is inside sees it as the `X-Request-ID` of the client."""

    def __init__(self, inner: AsgiApplication, *, access_log: AccessLog) -> None:
        self._inner = inner
        self._writes_from = {"none": None, "failed": _FAILED, "all": 0}[access_log]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request_id, headers = _settle_request_id(scope["headers"])
        line = (_REQUEST_ID, request_id.encode())
        status = _ABANDONED

        async def send_with_id(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = message.get("headers", ())
                if all(name.lower() != _REQUEST_ID for name, _ in answered):
                    message = {**message, "headers": [*answered, line]}
            await send(message)

        began_at = time.monotonic()
        with log_fields(request_id=request_id):
            try:
                await self._inner({**scope, "headers": headers}, receive, send_with_id)
            finally:
                if self._writes_from is not None and status >= self._writes_from:
                    _write_access(scope, status, time.monotonic() - began_at)


def _settle_request_id(headers: list[tuple[bytes, bytes]]) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The id, and the headers with it alone: the last one that the client sent if it is usable, else a new one."""
    offered = next((value for name, value in reversed(headers) if name == _REQUEST_ID), None)
    request_id = choose_request_id(offered)
    others = headers if offered is None else [line for line in headers if line[0] != _REQUEST_ID]
    return request_id, [*others, (_REQUEST_ID, request_id.encode())]


def _write_access(scope: dict[str, Any], status: int, seconds: float) -> None:
    """Without the query string, which may hold a public key, and with the path as it was sent, still encoded."""
    path = scope.get("raw_path") or scope["path"].encode("unicode_escape")
    text = path.decode("latin-1")[:_PATH_MAX_CHARS]
    fields = {
        "method": scope["method"],
        "path": text,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "client_address": scope["client"][0] if scope.get("client") else None,
    }
    logger.info("%s %s %d", scope["method"], text, status, extra=fields)

"""uvicorn's HTTP protocol with the bounds that it leaves open: time and size of a request's head.

uvicorn closes a connection that idles between requests, but waits for ever for a head that has begun or never begins,
and takes headers of any number and length. A few thousand connections that say nothing would then take every place that
`web_max_connections` has. So a head must be whole in time, and where places are scarce the connection that has owed its
first head longest makes room for a new one: whoever has something to say says it at once.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from viewcounter.joined_writes import JoinedWrites
from viewcounter.metrics import WEB_CONNECTIONS_CUT
from viewcounter.problems import PROBLEM_CONTENT_TYPE, Problem, encode_problem

logger = logging.getLogger(__name__)

_TOO_LARGE = Problem(431, "head_too_large", "The request has too many headers, or too long ones.")


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """`seconds` from the connection, or the first byte of a further request, to the end of the head."""

    seconds: float
    max_bytes: int
    max_headers: int


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Invariant: it is in `_waiting` exactly while its first head is not whole."""

    limits: ClassVar[HeadLimits]
    # By process, oldest first. Each event loop has a process of its own.
    _waiting: ClassVar[dict["BoundedHttpProtocol", None]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        self._header_count = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency - 1:
            self._make_room()
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport, self.loop)))
        self._waiting[self] = None
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head and self._head_timer is not None
        super().data_received(data)
        if self._head_timer is None and self._is_idle() and self.timeout_keep_alive_task is None:
            self._start_timer()  # neither a request nor silence, such as empty lines: uvicorn has stopped its own timer
        # What was all head and did not end it is held by the parser, not seen by the callbacks yet.
        if was_in_head and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.max_bytes:
                self._cut("head_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._header_count = 0
        if self._head_timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        if self._is_within_bounds():
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        self._header_count += 1
        if self._is_within_bounds():
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._waiting.pop(self, None)
        self._stop_timer()
        if self._is_within_bounds():
            super().on_headers_complete()
            return
        WEB_CONNECTIONS_CUT.labels("head_too_large").inc()
        self.url = b"/"  # what there is of the address may be cut anywhere
        app, self.app = self.app, _refuse_head
        try:
            super().on_headers_complete()
        finally:
            self.app = app

    def _is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _is_within_bounds(self) -> bool:
        return self._head_bytes <= self.limits.max_bytes and self._header_count <= self.limits.max_headers

    def _make_room(self) -> None:
        """Connections that owe their first head give way, the oldest first."""
        oldest = next(iter(self._waiting), None)
        if oldest is not None:
            oldest._cut("made_room")

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.seconds, self._end_wait)

    def _end_wait(self) -> None:
        self._head_timer = None
        if self._is_idle():
            self._cut("head_too_slow")
        else:  # a pipelined head: nothing is read while the request before it is under way
            self._start_timer()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self, reason: str) -> None:
        """Without a word: it was not heard out, and a word would have to be waited for."""
        WEB_CONNECTIONS_CUT.labels(reason).inc()
        self._waiting.pop(self, None)
        self.connections.discard(self)
        self._stop_timer()
        self.transport.abort()


async def _refuse_head(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    body = encode_problem(_TOO_LARGE, request_id="")
    headers = [
        (b"content-type", PROBLEM_CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": _TOO_LARGE.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})

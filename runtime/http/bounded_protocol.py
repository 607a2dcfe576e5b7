"""uvicorn's HTTP protocol with bounds that it lacks, on time and size of a request's head, and with coalesced writes.

uvicorn closes a connection that idles between requests, but waits for ever for a head that has begun or never begins,
and takes headers of any number and length. A few thousand silent connections would then use up `web_max_connections`.
So a head must be complete in time, and where connections are scarce the one that has owed its first head longest is
closed for a new one: a client with a request sends it at once.

uvicorn writes head and body of a response one after the other, and uvloop makes a system call of each. With one call a
POST of a single event costs the gateway 3 to 10 % less, and its client reads once.
"""

import asyncio
import logging
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.http.problems import PROBLEM_CONTENT_TYPE, Problem, encode_problem
from runtime.http.settings import HeadLimits
from runtime.metrics import WEB_CONNECTIONS_CUT

logger = logging.getLogger(__name__)

_TOO_LARGE = Problem(431, "head_too_large", "The request has too many headers, or too long ones.")
_TOO_LARGE_BODY = encode_problem(_TOO_LARGE, request_id="")
_TOO_LARGE_ANSWER = b"\r\n".join(
    (
        b"HTTP/1.1 431 Request Header Fields Too Large",
        b"content-type: " + PROBLEM_CONTENT_TYPE.encode(),
        b"content-length: %d" % len(_TOO_LARGE_BODY),
        b"connection: close",
        b"",
        _TOO_LARGE_BODY,
    )
)


WRITE_MAX_BYTES = 64 * 1024
"""A larger write is passed on at once, so that the transport can apply back-pressure."""


class _HeadTooLarge(Exception):
    """Internal to the protocol."""


class CoalescingTransport:
    """A transport that sends the writes of one pass of the event loop by one system call. Everything but writing and
    closing is the wrapped transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sent before the event loop waits again."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > WRITE_MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts, self._size = [], 0
            self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._parts, self._size = [], 0
        self._transport.abort()


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Invariant: it is in `_waiting` exactly while its first head is incomplete."""

    limits: ClassVar[HeadLimits]
    # By process, oldest first. Each event loop has a process of its own.
    _waiting: ClassVar[dict["BoundedHttpProtocol", None]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        self._header_count = 0
        self._held_bytes = 0
        self._has_parsed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency - 1:
            self._make_room()
        super().connection_made(cast(asyncio.Transport, CoalescingTransport(transport, self.loop)))
        self._waiting[self] = None
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As the parent's, except for heads past their bounds."""
        was_in_head = self._in_head and self._head_timer is not None
        self._has_parsed = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            if self._is_within_bounds():
                message = "Invalid HTTP request received."
                self.logger.info(message)  # the client's mistake
                self.send_400_response(message)
            else:
                self._refuse_rest_of_head()
            return
        if self._head_timer is None and self._is_idle() and self.timeout_keep_alive_task is None:
            self._start_timer()  # bytes that are no request, such as empty lines: uvicorn has stopped its own timer
        if was_in_head and self._in_head and not self.transport.is_closing():
            # The parser buffers an incomplete line: no callback has counted it yet.
            self._held_bytes += 0 if self._has_parsed else len(data)
            if not self._is_within_bounds():
                self._refuse_rest_of_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._header_count = self._held_bytes = 0
        if self._head_timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._waiting.pop(self, None)
        self._stop_timer()
        super().on_headers_complete()

    def _count(self, byte_count: int) -> None:
        """Raises _HeadTooLarge, which stops the parser: callbacks for a flood of headers would stall the event loop."""
        self._has_parsed, self._held_bytes = True, 0
        self._head_bytes += byte_count
        if not self._is_within_bounds():
            raise _HeadTooLarge

    def _is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _is_within_bounds(self) -> bool:
        head_bytes = self._head_bytes + self._held_bytes
        return head_bytes <= self.limits.max_bytes and self._header_count <= self.limits.max_headers

    def _refuse_rest_of_head(self) -> None:
        """Without waiting for the end of the head. Responds only where no earlier response would be truncated."""
        if not self._is_idle():
            self._cut("head_too_large")
            return
        WEB_CONNECTIONS_CUT.labels("head_too_large").inc()
        self._stop_timer()
        self.transport.write(_TOO_LARGE_ANSWER)
        self.transport.close()

    def _make_room(self) -> None:
        """Cuts the connection that has owed its first head longest."""
        oldest = next(iter(self._waiting), None)
        if oldest is not None:
            oldest._cut("made_room")

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.seconds, self._end_wait)

    def _end_wait(self) -> None:
        self._head_timer = None
        if self._is_idle():
            self._cut("head_too_slow")
        else:  # a pipelined head: nothing is read while the request before it is in progress
            self._start_timer()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self, reason: str) -> None:
        """Closes without a response: the request is incomplete, and a response would have to be waited for."""
        WEB_CONNECTIONS_CUT.labels(reason).inc()
        self._waiting.pop(self, None)
        self.connections.discard(self)
        self._stop_timer()
        self.transport.abort()

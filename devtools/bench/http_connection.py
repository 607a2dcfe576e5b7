"""One connection of the load generator: writes prepared bytes, parses only status and length.

It is kept alive if the server allows that, else reopened with the next request, as by a proxy.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from devtools.bench.errors import WrongAnswer

_LENGTH = b"content-length: "
_CLOSES = b"\r\nconnection: close"
_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """At most one request in flight. `fault` describes the first wrong answer."""

    def __init__(self, address: tuple[str, int], status: int) -> None:
        self.on_answer: Callable[[Connection, bytes], None] = _ignore
        self.asked_at = 0.0
        self.is_waiting = False
        self.fault: str | None = None
        self._address = address
        self._wanted = f"HTTP/1.1 {status}".encode()
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._left_count = 0

    async def open(self) -> None:
        """Raises OSError."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self._address)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own do not say that they are one

    def send(self, request: bytes, *, at: float) -> None:
        self.asked_at = at
        self.is_waiting = True
        if self._transport is None:
            self._opening = asyncio.get_running_loop().create_task(self._open_and_ask(request))
        else:
            self._transport.write(request)

    async def _open_and_ask(self, request: bytes) -> None:
        try:
            await self.open()
        except OSError as error:
            self.fault = self.fault or f"no connection: {error}"
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        self.on_answer = _ignore
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_END)
        if head_end < 0:
            return
        head = self._buffer[: head_end + 1].lower()
        length_at = head.find(_LENGTH) + len(_LENGTH)
        length = int(head[length_at : head.find(b"\r", length_at)])
        end = head_end + len(_END)
        if len(self._buffer) < end + length:
            return
        if not self._buffer.startswith(self._wanted):
            self.fault = self._buffer[:500].decode("latin-1")
        body, self._buffer = self._buffer[end:], b""
        self.is_waiting = False
        if _CLOSES in head:
            self._leave()
        self.on_answer(self, body)

    def _leave(self) -> None:
        """The server closes this connection, which is not an error."""
        if self._transport is not None:
            self._left_count += 1
            self._transport.close()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left_count:
            self._left_count -= 1
        elif not self.is_waiting:
            self._transport = None  # it said nothing for too long; there is another one for its next request
        elif self.on_answer is not _ignore:
            self.fault = self.fault or f"the connection ended: {exc}"


def check_answers(connections: list[Connection]) -> None:
    """Raises WrongAnswer."""
    for connection in connections:
        if connection.fault is not None:
            raise WrongAnswer(connection.fault)


def _ignore(_connection: Connection, _body: bytes) -> None:
    pass

"""A transport that sends what is written in one go by one system call.

uvicorn writes head and body of an answer one after the other, and uvloop makes a system call of each. With one call a
post of a single event costs the gateway 3 to 10 % less, and its client reads once.
"""

import asyncio
from typing import Any

MAX_BYTES = 64 * 1024
"""More is handed on at once, so that the transport can tell a fast writer to wait."""


class JoinedWrites:
    """Everything but writing and closing is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Leaves before the event loop waits again."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_BYTES:
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

"""Reading request bodies with every dimension bounded: bytes of each, time, bytes held for all of them.

An oversized body is read on and thrown away for a while: closing on a client that is still sending resets the
connection, and it would never see why.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from runtime.http.problems import Problem
from viewcounter.config import Config
from viewcounter.ingest.errors import ClientGone, Refused

Receive = Callable[[], Awaitable[dict[str, Any]]]
CLOSE = ((b"connection", b"close"),)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """An oversized body is discarded up to `discard_bytes`.

    `held_bytes`: of all bodies that are not whole yet.
    """

    max_bytes: int
    discard_bytes: int
    deadline_seconds: float
    held_bytes: int


def get_body_limits(config: Config) -> BodyLimits:
    return BodyLimits(
        max_bytes=config.request_max_bytes,
        discard_bytes=config.request_discard_bytes,
        deadline_seconds=config.request_body_seconds,
        held_bytes=config.request_bodies_held_max_bytes,
    )


class BodyReader:
    """Lives on one event loop. Invariant: `_held` has the bytes that have come of each body that is not whole yet, the
    body that was begun first in front, and `held_bytes` is their sum."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._held: dict[asyncio.Timeout, int] = {}
        self.held_bytes = 0

    async def read(self, receive: Receive, *, declared_bytes: int | None) -> bytes:
        """The whole body as it was sent. Raises Refused (408, 413) or ClientGone."""
        limits = self._limits
        deadline = asyncio.timeout(limits.deadline_seconds)
        try:
            async with deadline:
                if declared_bytes is not None and declared_bytes > limits.max_bytes:
                    await _refuse_declared(receive, declared_bytes, limits)
                return await self._receive(receive, deadline)
        except TimeoutError as error:
            raise self._too_slow() from error
        finally:
            self._release(deadline)

    async def _receive(self, receive: Receive, deadline: asyncio.Timeout) -> bytes:
        limits = self._limits
        message = await receive()
        body: bytes = message.get("body", b"")
        chunks = [body]
        size = len(body)
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            if size > limits.max_bytes:
                chunks.clear()
                self._release(deadline)
                size, is_whole = await _discard(receive, message, size, limits)
                raise _too_large(f"{size}" if is_whole else f"more than {size}", limits, close=not is_whole)
            if not message.get("more_body", False):
                return body if len(chunks) == 1 else b"".join(chunks)
            self._hold(deadline, len(chunks[-1]))
            message = await receive()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])

    def _hold(self, deadline: asyncio.Timeout, count: int) -> None:
        """Where memory is scarce, the body that was begun first gives way: one sent at once is whole at once."""
        self._held[deadline] = self._held.get(deadline, 0) + count
        self.held_bytes += count
        while self.held_bytes > self._limits.held_bytes:
            oldest = next(iter(self._held))
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
            self._release(oldest)

    def _release(self, deadline: asyncio.Timeout) -> None:
        self.held_bytes -= self._held.pop(deadline, 0)

    def _too_slow(self) -> Refused:
        detail = f"The body was not whole within {self._limits.deadline_seconds:g} seconds, or its memory was needed."
        return Refused(Problem(status=408, code="body_too_slow", detail=detail), headers=CLOSE)


async def _refuse_declared(receive: Receive, declared_bytes: int, limits: BodyLimits) -> None:
    """Raises Refused; without reading when the rest is too long to be read for courtesy."""
    is_whole = False
    if declared_bytes <= limits.discard_bytes:
        _, is_whole = await _discard(receive, await receive(), 0, limits)
    raise _too_large(str(declared_bytes), limits, close=not is_whole)


async def _discard(receive: Receive, message: dict[str, Any], size: int, limits: BodyLimits) -> tuple[int, bool]:
    """Read on past `message`, keeping nothing. Returns the bytes seen in all and whether the body ended."""
    while message.get("more_body", False):
        if size > limits.discard_bytes:
            return size, False
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
    return size, True


def _too_large(received: str, limits: BodyLimits, *, close: bool) -> Refused:
    detail = f"The body has {received} bytes; the limit is {limits.max_bytes} bytes."
    return Refused(Problem(status=413, code="body_too_large", detail=detail), headers=CLOSE if close else ())

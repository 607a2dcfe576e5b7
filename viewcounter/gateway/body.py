"""Reading a request body with every dimension bounded: bytes as sent, bytes unpacked, time.

An oversized body is read on and thrown away for a while: closing on a client that is still sending resets the
connection, and it would never see why.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from viewcounter.gateway.encodings import Encoding, unpack
from viewcounter.gateway.errors import ClientGone, Refused
from viewcounter.problems import Problem

Receive = Callable[[], Awaitable[dict[str, Any]]]
CLOSE = ((b"connection", b"close"),)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`max_bytes` holds before and after unpacking; an oversized body is discarded up to `discard_bytes`."""

    max_bytes: int
    discard_bytes: int
    deadline_seconds: float


async def read_body(
    receive: Receive, *, declared_bytes: int | None, encoding: Encoding | None, limits: BodyLimits
) -> bytes:
    """The whole body, unpacked. Raises Refused (400, 408, 413) or ClientGone."""
    try:
        async with asyncio.timeout(limits.deadline_seconds):
            if declared_bytes is not None and declared_bytes > limits.max_bytes:
                await _refuse_declared(receive, declared_bytes, limits)
            body = await _receive_bounded(receive, limits)
    except TimeoutError as error:
        detail = f"The body did not arrive within {limits.deadline_seconds:g} seconds."
        raise Refused(Problem(status=408, code="body_too_slow", detail=detail), headers=CLOSE) from error
    return body if encoding is None else unpack(body, encoding, max_bytes=limits.max_bytes)


async def _receive_bounded(receive: Receive, limits: BodyLimits) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    chunks = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        if size > limits.max_bytes:
            size, is_whole = await _discard(receive, message, size, limits)
            raise _too_large(f"{size}" if is_whole else f"more than {size}", limits, close=not is_whole)
        if not message.get("more_body", False):
            return body if len(chunks) == 1 else b"".join(chunks)
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])


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

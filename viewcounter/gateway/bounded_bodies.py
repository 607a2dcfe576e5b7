"""Bodies on their way to Django: read whole within the lane's bounds, or refused before Django hears of them.

Django's handler writes a body of any length to a temporary file before the first view is asked, for as long as the
client takes. None of its addresses takes more than `request_max_bytes`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from viewcounter.gateway.body import BodyLimits, Receive, read_body
from viewcounter.gateway.errors import ClientGone, Refused
from viewcounter.gateway.head import read_head
from viewcounter.gateway.lane import Send, send_refusal


class BoundedBodies:
    """An ASGI application in front of `inner`."""

    def __init__(self, inner: Callable[[dict[str, Any], Receive, Send], Awaitable[None]], limits: BodyLimits) -> None:
        self._inner = inner
        self._limits = limits

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_body(scope["headers"]):
            head = read_head(scope["headers"])
            try:
                body = await read_body(receive, declared_bytes=head.content_length, encoding=None, limits=self._limits)
            except Refused as refusal:
                await send_refusal(refusal, send, request_id=head.request_id)
                return
            except ClientGone:
                return
            receive = _replay(body, receive)
        await self._inner(scope, receive, send)


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> dict[str, Any]:
        return messages.pop() if messages else await receive()

    return replay

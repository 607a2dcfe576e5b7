"""Requests on their way to Django: the API key is checked first, then the body is read whole, within bounds.

Django's handler reads a body of any length into a temporary file before the first view is asked, for as long as the
client takes, and a view looks its key up in the request's own thread. So keys are looked up here, by the few threads of
`LaneKeys`, and only a request with a valid key has its body read; the verdict goes with the request. Views answer.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from viewcounter.gateway.authentication import LaneKeys
from viewcounter.gateway.body import BodyReader, Receive
from viewcounter.gateway.errors import ClientGone, InvalidKey, KeysUnavailable, Refused
from viewcounter.gateway.head import Head, read_head
from viewcounter.gateway.key_cache import AuthenticatedKey
from viewcounter.gateway.lane import Send, send_refusal
from viewcounter.gateway.site import Site

KEY_VERDICT = "viewcounter.key_verdict"
"""In the scope of a request that sent a key: the AuthenticatedKey, or the InvalidKey or KeysUnavailable to raise."""

KeyVerdict = AuthenticatedKey | InvalidKey | KeysUnavailable


class CheckedRequests:
    """An ASGI application in front of `inner`. Addresses that begin with one of `keyless` take bodies without a key."""

    def __init__(
        self,
        inner: Callable[[dict[str, Any], Receive, Send], Awaitable[None]],
        *,
        keys: LaneKeys,
        bodies: BodyReader,
        site: Site,
        keyless: tuple[str, ...],
    ) -> None:
        self._inner = inner
        self._keys = keys
        self._bodies = bodies
        self._site = site
        self._keyless = keyless

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        head = read_head(scope["headers"])
        is_acceptable = self._site.is_acceptable(scope, head)
        verdict = await self._judge_key(head) if is_acceptable else None
        if verdict is not None:
            scope = {**scope, KEY_VERDICT: verdict}
        if _has_body(scope["headers"]):
            try:
                if is_acceptable and self._may_send_body(scope["path"], verdict):
                    receive = _replay(await self._read_body(receive, head), receive)
                else:
                    receive = _leave_out_body(receive)
            except Refused as refusal:
                await send_refusal(refusal, send, request_id=head.request_id)
                return
            except ClientGone:
                return
        await self._inner(scope, receive, send)

    async def _judge_key(self, head: Head) -> KeyVerdict | None:
        """None: there is no key."""
        if head.authorization is None:
            return None
        try:
            return await self._keys.authenticate(head.authorization)
        except (InvalidKey, KeysUnavailable) as error:
            return error

    def _may_send_body(self, path: str, verdict: KeyVerdict | None) -> bool:
        return isinstance(verdict, AuthenticatedKey) or path.startswith(self._keyless)

    async def _read_body(self, receive: Receive, head: Head) -> bytes:
        return await self._bodies.read(receive, declared_bytes=head.content_length, encoding=None)


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> dict[str, Any]:
        return messages.pop() if messages else await receive()

    return replay


def _leave_out_body(receive: Receive) -> Receive:
    """An empty body, and then the end of the client: Django knows of nothing else."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def leave_out() -> dict[str, Any]:
        if messages:
            return messages.pop()
        message = await receive()
        while message["type"] == "http.request":
            message = await receive()
        return message

    return leave_out

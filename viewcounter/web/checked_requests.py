"""Requests on their way to Django: the API key is checked first, then the body is read whole, within bounds.

Django's handler reads a body of any length into a temporary file before the first view is asked, for as long as the
client takes, and a view looks its key up in the request's own thread. So keys are looked up here, by the few threads of
`KeyAuthenticator`, and only a request with a valid key has its body read; the verdict goes with the request.
"""

from typing import Any

from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.key_cache import AuthenticatedKey
from viewcounter.ingest.endpoint import Send, send_refusal
from viewcounter.ingest.errors import ClientGone, InvalidKey, KeysUnavailable, Refused
from viewcounter.ingest.request_head import Head, read_head
from viewcounter.web.body import BodyReader, Receive
from viewcounter.web.django_shares import ADMIN_START, DjangoShares
from viewcounter.web.site import Site
from viewcounter.web.slots import AsgiApplication

KEY_VERDICT = "viewcounter.key_verdict"
"""In the scope of a request that sent a key: the AuthenticatedKey, or the InvalidKey or KeysUnavailable to raise."""

KeyVerdict = AuthenticatedKey | InvalidKey | KeysUnavailable


class CheckedRequests:
    """An ASGI application in front of `inner`."""

    def __init__(
        self,
        inner: AsgiApplication,
        *,
        keys: KeyAuthenticator,
        bodies: BodyReader,
        site: Site,
        shares: DjangoShares,
    ) -> None:
        self._inner = inner
        self._keys = keys
        self._bodies = bodies
        self._site = site
        self._shares = shares

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        head = read_head(scope["headers"])
        is_acceptable = self._site.is_acceptable(scope, head)
        verdict = await self._judge_key(head) if is_acceptable else None
        if verdict is not None:
            scope = {**scope, KEY_VERDICT: verdict}
        try:
            if _has_body(scope["headers"]):
                if is_acceptable and _may_send_body(scope["path"], verdict):
                    receive = _replay(await self._read_body(receive, head), receive)
                else:
                    receive = _leave_out_body(receive)
            await self._shares.serve(self._inner, scope, receive, send, is_trusted=_is_trusted(verdict))
        except Refused as refusal:
            await send_refusal(refusal, send, request_id=head.request_id)
        except ClientGone:
            return

    async def _judge_key(self, head: Head) -> KeyVerdict | None:
        """None: there is no key."""
        if head.authorization is None:
            return None
        try:
            return await self._keys.authenticate(head.authorization)
        except (InvalidKey, KeysUnavailable) as error:
            return error

    async def _read_body(self, receive: Receive, head: Head) -> bytes:
        return await self._bodies.read(receive, declared_bytes=head.content_length)


def _may_send_body(path: str, verdict: KeyVerdict | None) -> bool:
    """Forms of the admin have no key."""
    return isinstance(verdict, AuthenticatedKey) or path.startswith(ADMIN_START)


def _is_trusted(verdict: KeyVerdict | None) -> bool:
    """A public key is everybody's."""
    return isinstance(verdict, AuthenticatedKey) and not verdict.is_public


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

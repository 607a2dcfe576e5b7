"""Requests on their way to Django: the API key is checked first, then the body is read whole, within bounds.

Django's handler reads a body of any length into a temporary file before it calls a view, for as long as the client
takes, and a view looks up its key in the request's own thread. So keys are looked up here, by the few threads of
`KeyAuthenticator`, and only a request with a valid key has its body read; the result goes with the request.
"""

from typing import Any

from runtime.http.asgi import AsgiApplication, Receive, Send, replay_body, respond_refused
from runtime.http.errors import ClientGone, Refused
from runtime.logs import add_log_fields
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.errors import InvalidKey, KeysUnavailable
from viewcounter.apikeys.scopes import AuthenticatedKey
from viewcounter.web.django_shares import ADMIN_START, DjangoShares
from viewcounter.web.request import BodyReader, Head, read_head
from viewcounter.web.site import Site

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
        verdict = await self._check_key(head) if is_acceptable else None
        if verdict is not None:
            scope = {**scope, KEY_VERDICT: verdict}
        try:
            if _has_body(scope["headers"]):
                if is_acceptable and _may_send_body(scope["path"], verdict):
                    body = await self._bodies.read(receive, declared_bytes=head.content_length)
                    receive = replay_body(body, receive)
                else:
                    receive = _discard_body(receive)
            await self._shares.serve(self._inner, scope, receive, send, is_trusted=_is_trusted(verdict))
        except Refused as refusal:
            await respond_refused(send, refusal, request_id=head.request_id)
        except ClientGone:
            return

    async def _check_key(self, head: Head) -> KeyVerdict | None:
        """None for a request without a key."""
        if head.authorization is None:
            return None
        try:
            key = await self._keys.authenticate(head.authorization)
        except (InvalidKey, KeysUnavailable) as error:
            return error
        add_log_fields(key_prefix=key.prefix)
        return key


def _may_send_body(path: str, verdict: KeyVerdict | None) -> bool:
    """Forms of the admin have no API key."""
    return isinstance(verdict, AuthenticatedKey) or path.startswith(ADMIN_START)


def _is_trusted(verdict: KeyVerdict | None) -> bool:
    """Anybody may have a public key."""
    return isinstance(verdict, AuthenticatedKey) and not verdict.is_public


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _discard_body(receive: Receive) -> Receive:
    """An empty body, and then only the disconnect of the client: Django must not read the real one."""

    async def receive_disconnect() -> dict[str, Any]:
        message = await receive()
        while message["type"] == "http.request":
            message = await receive()
        return message

    return replay_body(b"", receive_disconnect)

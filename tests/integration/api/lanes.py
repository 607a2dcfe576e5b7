"""A request through an endpoint in front of Django, and through Django itself, in one process."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from django.core.asgi import get_asgi_application

from viewcounter.api.fast.reads import FastReadEndpoint
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.scopes import Scope
from viewcounter.config import get_config
from viewcounter.web.request import BodyReader
from viewcounter.web.settings import RequestLimits

COUNTS = "/v1/videos/cats/counts"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


Ask = Callable[..., Awaitable[Reply]]


class Lanes:
    """Both ways to the same process. `passed_on` counts what the hot lane left to Django."""

    endpoint: Callable[..., Any] = FastReadEndpoint

    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self.django = get_asgi_application()
        self.passed_on = 0

    def ask(self, **request: Any) -> Reply:
        """Through the hot lane."""

        async def script(ask: Ask) -> Reply:
            return await ask(**request)

        return self.run(script)

    def ask_django(self, **request: Any) -> Reply:
        return asyncio.run(self._send(self.django, **request))

    def run(self, script: Callable[[Ask], Awaitable[Any]]) -> Any:
        """`script` with a hot lane of its own."""
        return asyncio.run(self._run(script))

    async def _run(self, script: Callable[[Ask], Awaitable[Any]]) -> Any:
        async def inner(*arguments: Any) -> None:
            self.passed_on += 1
            await self.django(*arguments)

        config = get_config()
        keys = KeyAuthenticator(max_lookups=config.api_key.lookups_max, timeout_seconds=30)
        bodies = BodyReader(
            RequestLimits(max_bytes=2**20, discard_bytes=2**24, body_seconds=30, bodies_held_max_bytes=2**26)
        )
        hot = self.application = self.endpoint(inner, keys, bodies, config)
        try:
            return await script(partial(self._send, hot))
        finally:
            hot.close()
            keys.close()

    async def _send(
        self,
        application: Any,
        *,
        path: str = COUNTS,
        method: str = "GET",
        query: str = "",
        body: bytes = b"",
        token: str | None = Scope.STATS_READ.value,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        lines = {"host": "localhost", "x-request-id": "req-1"}
        if token is not None:
            lines["authorization"] = f"Bearer {self.tokens.get(token, token)}"
        if body:
            lines["content-length"] = str(len(body))
        lines |= {name.lower(): value for name, value in (headers or {}).items()}
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else await asyncio.get_running_loop().create_future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await application(scope, receive, send)
        names = [name.decode().lower() for name, _ in sent[0]["headers"]]
        assert len(names) == len(set(names)), "a header stands twice"
        values = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], values, b"".join(message.get("body", b"") for message in sent[1:]))

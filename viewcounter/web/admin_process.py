"""ASGI application of the web process that serves only the admin.

Separate from the gateways, because people log in there: checking a password takes memory and a core on purpose, and no
event should wait for it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from configservice.registry.heartbeat import Heartbeat
from runtime.http.asgi import AsgiApplication, Receive, Send
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.config import Config
from viewcounter.web.checked_requests import CheckedRequests
from viewcounter.web.django_shares import DjangoShares
from viewcounter.web.request import BodyReader
from viewcounter.web.site import Site


class AdminProcess:
    """`inner` is Django with the URLs of the admin."""

    def __init__(
        self, inner: AsgiApplication, *, config: Config, start_heartbeat: Callable[[], Heartbeat] | None = None
    ) -> None:
        self._start_heartbeat = start_heartbeat
        self._keys = KeyAuthenticator(
            max_lookups=config.api_key.lookups_max, timeout_seconds=config.api_key.lookup_seconds
        )
        self._inner = CheckedRequests(
            inner,
            keys=self._keys,
            bodies=BodyReader(config.request),
            site=Site(config.site),
            shares=DjangoShares(config.web, config.log_in),
        )

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        heartbeat: Heartbeat | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                heartbeat = None if self._start_heartbeat is None else self._start_heartbeat()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self._keys.close()
                if heartbeat is not None:
                    await asyncio.to_thread(heartbeat.stop)
                await send({"type": "lifespan.shutdown.complete"})
                return

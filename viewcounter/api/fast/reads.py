"""Counts without Django: from the memory of this process on the event loop, all others in a few threads.

Requests, responses and errors are the same as those of the views. Identical queries at the same time share one thread,
so that a thousand of them leave the other threads to other queries.
"""

import logging
from typing import Any

from rest_framework.exceptions import Throttled

from runtime.http.asgi import AsgiApplication, Receive, Send, replay_body, respond
from runtime.http.errors import ClientGone
from runtime.logs import add_log_fields
from runtime.metrics import HOT_READS
from viewcounter.api.authentication import build_invalid_key_error, build_missing_key_error
from viewcounter.api.fast.answers import build_answer, build_lines, build_refusal, collect_security_headers
from viewcounter.api.fast.bodies import CountsBodies
from viewcounter.api.fast.requests import Endpoint, FastRequest, find_fast_request, find_video_ids
from viewcounter.api.permissions import check_scope
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.rate_limit import Allowance, Unit, get_rate_limiter
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope
from viewcounter.config import Config
from viewcounter.ingest.metrics import RequestMeter
from viewcounter.web.request import BodyReader
from viewcounter.web.site import Site

logger = logging.getLogger(__name__)


class FastReadEndpoint:
    """An ASGI application in front of `inner`, on one event loop. `counts`: where its answers come from."""

    def __init__(self, inner: AsgiApplication, keys: KeyAuthenticator, bodies: BodyReader, config: Config) -> None:
        self._inner = inner
        self._keys = keys
        self._site = Site(config.site)
        self._bodies = bodies
        self._max_body_bytes = config.request.max_bytes
        self._max_videos = config.api.counts_query_max_videos
        self.counts = CountsBodies(config)
        self._security = collect_security_headers()
        self._meter = RequestMeter(HOT_READS)

    def close(self) -> None:
        self._meter.publish()
        self.counts.close()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        request = find_fast_request(scope, site=self._site, max_body_bytes=self._max_body_bytes)
        if request is None:
            await self._inner(scope, receive, send)
            return
        allowance: Allowance | None = None
        try:
            key = await self._authorize(request)
            video_ids: list[str] | None = None
            if request.endpoint is Endpoint.COUNTS_QUERY:
                content = await self._bodies.read(receive, declared_bytes=request.content_length)
                video_ids = find_video_ids(content, max_videos=self._max_videos)
                if video_ids is None:
                    await self._inner(scope, replay_body(content, receive), send)
                    return
            allowance = get_rate_limiter().take(key, Unit.REQUESTS, 1)
            if allowance is not None and not allowance.is_allowed:
                raise Throttled(allowance.wait_seconds)
            found = self.counts.find(request.video_id) if video_ids is None else self.counts.find_many(video_ids)
            body, outcome = await found
            answer = build_answer(body, request)
        except ClientGone:
            self._meter.count(request.endpoint, "client_gone")
            return
        except Exception as error:
            answer, outcome = build_refusal(error, request)
        self._meter.count(request.endpoint, outcome)
        lines = build_lines(answer, request, allowance=allowance, security=self._security)
        await respond(send, answer.status, lines, answer.content)

    async def _authorize(self, request: FastRequest) -> AuthenticatedKey:
        """Raises what DRF raises for the views, and KeysUnavailable."""
        if request.authorization is None:
            raise build_missing_key_error()
        try:
            key = await self._keys.authenticate(request.authorization)
        except InvalidKey:
            raise build_invalid_key_error() from None
        add_log_fields(key_prefix=key.prefix)
        check_scope(key, Scope.STATS_READ)
        return key

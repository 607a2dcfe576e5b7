"""Counts without Django: from the memory of this process on the event loop, all others in a few threads.

Requests, responses and errors are the same as those of the views. Identical queries at the same time share one thread,
so that a thousand of them leave the other threads to other queries.
"""

import logging
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any

from rest_framework.exceptions import Throttled

from clusterproxy.errors import TooManyWaiting
from runtime.http.asgi import AsgiApplication, Receive, Send, replay_body, respond
from runtime.http.errors import ClientGone
from runtime.metrics import HOT_READS
from runtime.singleflight import AsyncSingleFlight, TooManyFlights
from shardproxy.errors import DeadlineExceeded
from viewcounter.api.authentication import build_invalid_key_error, build_missing_key_error
from viewcounter.api.fast.answers import (
    Body,
    build_answer,
    build_counts_body,
    build_lines,
    build_many_counts_body,
    build_refusal,
    collect_security_headers,
)
from viewcounter.api.fast.rendered import RenderedBodies
from viewcounter.api.fast.requests import Endpoint, FastRequest, find_fast_request, find_video_ids
from viewcounter.api.permissions import check_scope
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.rate_limit import Allowance, Unit, get_rate_limiter
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.config import Config
from viewcounter.ingest.metrics import RequestMeter
from viewcounter.queries.counts import get_counts, get_counts_of_videos
from viewcounter.web.request import BodyReader
from viewcounter.web.site import Site

logger = logging.getLogger(__name__)


class FastReadEndpoint:
    """An ASGI application in front of `inner`, on one event loop. Opens no connection before its first query.

    Invariant: at most one thread executes a query at a time, and at most `hot_read_max_waiting` queries are open.
    """

    def __init__(self, inner: AsgiApplication, keys: KeyAuthenticator, bodies: BodyReader, config: Config) -> None:
        self._inner = inner
        self._keys = keys
        self._site = Site(config.site)
        self._bodies = bodies
        self._max_body_bytes = config.request.max_bytes
        self._max_videos = config.api.counts_query_max_videos
        self._read_seconds = config.hot_read.seconds
        self._rendered = RenderedBodies(max_bodies=config.hot_read.max_bodies)
        self._flights: AsyncSingleFlight[Body] = AsyncSingleFlight(
            "hot-reads",
            max_threads=config.hot_read.threads,
            max_flights=config.hot_read.max_waiting,
            timeout_seconds=config.hot_read.seconds,
        )
        self._security = collect_security_headers()
        self._meter = RequestMeter(HOT_READS)

    def close(self) -> None:
        self._meter.publish()
        self._rendered.close()
        self._flights.close()

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
            body, outcome = await self._find_body(request, video_ids)
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
        check_scope(key, Scope.STATS_READ)
        return key

    async def _find_body(self, request: FastRequest, video_ids: list[str] | None) -> tuple[Body, str]:
        """With its origin for metrics: `kept` in this process, or `read`."""
        body = self._rendered.find(request.video_id) if video_ids is None else self._rendered.find_many(video_ids)
        if body is not None:
            return body, "kept"
        if video_ids is None:
            video_id = request.video_id
            return await self._read(video_id, lambda: _read_counts(video_id)), "read"
        return await self._read(tuple(video_ids), lambda: _read_many_counts(video_ids, self._max_videos)), "read"

    async def _read(self, key: Hashable, read: Callable[[], Body]) -> Body:
        """Raises what `read` raises, TooManyWaiting, and DeadlineExceeded."""
        deadline_at = time.monotonic() + self._read_seconds
        try:
            return await self._flights.run(key, lambda: _read_in_time(read, deadline_at))
        except TooManyFlights as error:
            raise TooManyWaiting from error
        except TimeoutError as error:
            raise DeadlineExceeded("no answer before the deadline", instance="fast reads") from error


def _read_in_time(read: Callable[[], Body], deadline_at: float) -> Body:
    """In a thread. A read that got its thread too late is not executed: its client no longer waits for it."""
    if time.monotonic() >= deadline_at:
        raise DeadlineExceeded("no thread was free before the deadline", instance="fast reads")
    return read()


def _read_counts(video_id: str) -> Body:
    answer = get_counts(get_cluster(), video_id=video_id, now=datetime.now(UTC), cache=find_read_cache())
    return build_counts_body(answer)


def _read_many_counts(video_ids: list[str], max_videos: int) -> Body:
    answer = get_counts_of_videos(
        get_cluster(), video_ids=video_ids, max_videos=max_videos, now=datetime.now(UTC), cache=find_read_cache()
    )
    return build_many_counts_body(answer)

"""Answers requests of web pages for numbers: authenticate, check the origin, read, respond. Django is not on this path.

A public key needs the scope `counts:public` and one of its origins; a secret key needs `stats:read` or `counts:public`.
An image is requested without an Origin: for a badge the Referer counts, if the browser sends one.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from runtime.http.asgi import PROBLEM_LINE, AsgiApplication, Receive, Send, respond
from runtime.http.errors import ClientGone, Refused, Rejected, TryLater
from runtime.http.problems import Problem, encode_problem
from runtime.logs import add_log_fields
from runtime.metrics import HOT_READS
from viewcounter.api.errors import RETRY_AFTER_SECONDS, find_problem
from viewcounter.api.fast.answers import Body, collect_security_headers
from viewcounter.api.fast.reads import FastReadEndpoint
from viewcounter.api.fast.requests import find_video_ids
from viewcounter.api.http_caching import is_known
from viewcounter.api.public.badge import render_badge
from viewcounter.api.public.requests import (
    METHODS,
    PublicEndpoint,
    PublicRequest,
    build_unknown_event_type,
    find_key,
    find_public_endpoint,
    parse_parameters,
)
from viewcounter.api.public.streams import RECONNECT, CountsStreams
from viewcounter.apikeys.authentication import KeyAuthenticator, read_key_of_address
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.origins import READABLE, build_preflight_lines, check_origin
from viewcounter.apikeys.rate_limit import (
    RequestBudget,
    Unit,
    build_address_buckets,
    get_client_address,
    get_rate_limiter,
)
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope
from viewcounter.config import Config
from viewcounter.ingest.metrics import RequestMeter
from viewcounter.ingest.snippet import Snippet
from viewcounter.web.request import BodyReader, Head, read_head
from viewcounter.web.site import Site
from viewcounter.web.stopping import on_stop

logger = logging.getLogger(__name__)

SCRIPT_PATH = "/v1/counts.js"
SCRIPT = Path(__file__).parent / "assets" / "counts.js"
BADGE_SECONDS = 60
"""How long browsers and proxies may show a badge before they request it again."""

_JSON = (b"content-type", b"application/json")
_SVG = (
    (b"content-type", b"image/svg+xml; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)
_STREAM = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events
    (b"connection", b"close"),  # after the stream, so that its end is seen
)
_SCOPES_OF_SECRET_KEYS = frozenset({Scope.STATS_READ, Scope.COUNTS_PUBLIC})


class _Call(NamedTuple):
    """One request, before its parameters are read. `video_id` is empty where many are read."""

    endpoint: PublicEndpoint
    video_id: str
    scope: dict[str, Any]
    head: Head
    budget: RequestBudget

    def get_header(self, wanted: bytes) -> str | None:
        return next((value.decode("latin-1") for name, value in self.scope["headers"] if name == wanted), None)


class _Answer(NamedTuple):
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes
    outcome: str


class PublicCountsEndpoint:
    """An ASGI application in front of the fast path, whose bodies it shares, on one event loop."""

    def __init__(
        self,
        inner: FastReadEndpoint,
        *,
        keys: KeyAuthenticator,
        bodies: BodyReader,
        config: Config,
    ) -> None:
        self._inner = inner
        self._keys = keys
        self._bodies = bodies
        self._addresses = build_address_buckets(config)
        self._site = Site(config.site)
        self._max_videos = config.api.counts_query_max_videos
        self._streams = CountsStreams(inner.counts.find, config.stream)
        self._script = Snippet(SCRIPT)
        self._is_stopping = False
        self._security = collect_security_headers()
        self._meter = RequestMeter(HOT_READS)
        on_stop(self._stop)

    def close(self) -> None:
        self._meter.publish()
        self._inner.close()

    def _stop(self) -> None:
        self._is_stopping = True
        self._streams.stop()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        found = find_public_endpoint(scope)
        head = None if found is None else read_head(scope["headers"])
        if found is None or head is None or not self._site.is_acceptable(scope, head):
            is_script = scope["type"] == "http" and scope["path"] == SCRIPT_PATH
            await (self._script if is_script else self._inner)(scope, receive, send)
            return
        call = _Call(*found, scope, head, RequestBudget(get_rate_limiter(), self._addresses))
        try:
            answer = await self._answer(call, receive, send)
        except ClientGone:
            self._meter.count(call.endpoint, "client_gone")
            return
        except Exception as error:
            answer = _build_refusal(error, head.request_id)
        if answer is None:
            self._meter.count(call.endpoint, "ended")
            return
        self._meter.count(call.endpoint, answer.outcome)
        lines = [*answer.headers, *self._build_lines(call), (b"content-length", b"%d" % len(answer.content))]
        await respond(send, answer.status, lines, b"" if scope["method"] == "HEAD" else answer.content)

    def _build_lines(self, call: _Call) -> list[tuple[bytes, bytes]]:
        """Header lines of every response."""
        is_secure = self._site.is_secure(call.scope, call.head.forwarded_proto)
        return [
            (b"x-request-id", call.head.request_id.encode()),
            (b"allow", ", ".join(METHODS[call.endpoint]).encode()),
            *call.budget.headers,
            *self._security[is_secure],
        ]

    async def _answer(self, call: _Call, receive: Receive, send: Send) -> _Answer | None:
        """None: the response was a stream, which has ended."""
        method = call.scope["method"]
        is_preflight = method == "OPTIONS" and call.head.origin is not None
        if not is_preflight and method not in METHODS[call.endpoint]:
            raise Rejected(Problem(405, "method_not_allowed", f'Method "{method}" not allowed.'))
        key = await self._authorize(call, find_key(call.scope["query_string"]))
        request = parse_parameters(call.endpoint, call.scope["query_string"])
        if is_preflight:
            return _Answer(204, build_preflight_lines(METHODS[call.endpoint]), b"", "preflight")
        call.budget.take_of_address(key, get_client_address(call.scope))
        call.budget.take(key, Unit.REQUESTS, 1)
        match call.endpoint:
            case PublicEndpoint.STREAM:
                return await self._serve_stream(call, request, receive, send)
            case PublicEndpoint.COUNTS_QUERY:
                return await self._answer_many(call, receive)
        body, outcome = await self._inner.counts.find(call.video_id)
        if call.endpoint is PublicEndpoint.BADGE:
            # Without a key in its address a badge is for this client only.
            kind = b"private" if request.key is None else b"public"
            lasting = (b"cache-control", b"%s, max-age=%d" % (kind, BADGE_SECONDS))
            return _Answer(200, (*_SVG, lasting), _render_badge(request, body), outcome)
        known = call.get_header(b"if-none-match")
        if known is not None and is_known(body.etag, if_none_match=known):
            return _Answer(304, body.headers, b"", outcome)
        return _Answer(200, (_JSON, *body.headers), body.content, outcome)

    async def _authorize(self, call: _Call, token: str | None) -> AuthenticatedKey:
        """Sets the CORS headers of the budget. Raises Rejected, and KeysUnavailable."""
        authorization = call.head.authorization if token is None else read_key_of_address(token)
        readable = () if token is None else (READABLE,)
        try:
            key = await self._keys.authenticate(authorization)
        except InvalidKey as error:
            code, detail = "invalid_key", "The API key is not valid."
            if authorization is None:
                code, detail = "missing_key", "Send a public key as ?key=vcp_…, any as 'Authorization: Bearer <key>'."
            challenge = (b"www-authenticate", b"Bearer")
            raise Rejected(Problem(401, code, detail), headers=(challenge, *readable)) from error
        add_log_fields(key_prefix=key.prefix)
        needed = {Scope.COUNTS_PUBLIC} if key.is_public else _SCOPES_OF_SECRET_KEYS
        if not needed & key.scopes:
            detail = f"This needs the scope {Scope.COUNTS_PUBLIC}; the key {key.prefix} lacks it."
            raise Rejected(Problem(403, "missing_scope", detail), headers=readable)
        if key.is_public and call.endpoint is PublicEndpoint.BADGE:
            _check_referer(key, call.get_header(b"referer"))
        elif key.is_public:
            call.budget.origin_headers = check_origin(key, call.head.origin)
        return key

    async def _answer_many(self, call: _Call, receive: Receive) -> _Answer:
        content = await self._bodies.read(receive, declared_bytes=call.head.content_length)
        video_ids = find_video_ids(content, max_videos=self._max_videos)
        if video_ids is None:
            detail = f'The body must be {{"video_ids": […]}} with 1 to {self._max_videos} ids.'
            raise Rejected(Problem(422, "invalid_request", detail))
        body, outcome = await self._inner.counts.find_many(video_ids)
        return _Answer(200, (_JSON, *body.headers), body.content, outcome)

    async def _serve_stream(self, call: _Call, request: PublicRequest, receive: Receive, send: Send) -> _Answer | None:
        if self._is_stopping:
            return _Answer(200, _STREAM, RECONNECT, "stopping")

        async def check() -> None:
            await self._authorize(call, request.key)

        headers = [*_STREAM, *self._build_lines(call)]
        await self._streams.serve(call.video_id, receive, send, headers=headers, check=check)
        return None


def _render_badge(request: PublicRequest, body: Body) -> bytes:
    counts: dict[str, int] = msgspec.json.decode(body.content)["counts"]
    count = counts.get(request.event_type)
    if count is None:
        raise build_unknown_event_type(list(counts))
    return render_badge(request.label or request.event_type.replace("_", " "), count)


def _check_referer(key: AuthenticatedKey, referer: str | None) -> None:
    """A browser that sends the address of the page must send one of the key's origins. Raises Rejected (403)."""
    if referer is not None:
        parts = urlsplit(referer)
        check_origin(key, f"{parts.scheme}://{parts.netloc}".lower().encode("latin-1", "replace"))


def _build_refusal(error: Exception, request_id: str) -> _Answer:
    """Faults of the service are logged."""
    problem = error.problem if isinstance(error, Refused) else find_problem(error)
    if problem is None:
        logger.error("request %s failed with an unexpected error", request_id, exc_info=error)
        problem = Problem(500, "internal_error", "Something went wrong on our side.")
    headers = [PROBLEM_LINE, (b"cache-control", b"no-store")]
    if isinstance(error, Refused):
        headers.extend(error.headers)
    if problem.status in (503, 504) or (isinstance(error, TryLater) and error.adds_retry_after):
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    return _Answer(problem.status, tuple(headers), encode_problem(problem, request_id=request_id), problem.code)


def build_reads(
    inner: AsgiApplication, keys: KeyAuthenticator, bodies: BodyReader, config: Config
) -> PublicCountsEndpoint:
    """Every read that is answered in front of `inner`."""
    return PublicCountsEndpoint(FastReadEndpoint(inner, keys, bodies, config), keys=keys, bodies=bodies, config=config)

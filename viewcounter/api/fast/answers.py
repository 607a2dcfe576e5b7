"""Responses of the fast path: the bytes and headers that Django would have sent, built without it."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, Throttled

from runtime.http.asgi import PROBLEM_LINE
from runtime.http.errors import Refused
from runtime.http.problems import Problem, encode_problem
from viewcounter.api.answers import Json, encode_counts, encode_many_counts
from viewcounter.api.authentication import CHALLENGE
from viewcounter.api.errors import RETRY_AFTER_SECONDS, find_problem
from viewcounter.api.fast.requests import Endpoint, FastRequest
from viewcounter.api.http_caching import choose_cache_control, compute_etag, is_known
from viewcounter.apikeys.rate_limit import Allowance
from viewcounter.queries.counts import CountsAnswer, ManyCountsAnswer

logger = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]

_ALLOWED = {Endpoint.COUNTS: (b"allow", b"GET, HEAD"), Endpoint.COUNTS_QUERY: (b"allow", b"POST")}
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_VARY = (b"vary", b"Authorization")
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Body:
    """The body of all responses to the same query. `etag` is empty for a response without one."""

    content: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Complete but for the headers of a single request: its id and its key's allowance."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes


def build_counts_body(answer: CountsAnswer) -> Body:
    body = encode_counts(answer)
    etag = compute_etag(body)
    headers = ((b"etag", etag.encode()), (b"cache-control", choose_cache_control(answer.meta).encode()))
    return Body(_encode(body), headers, etag)


def build_many_counts_body(answer: ManyCountsAnswer) -> Body:
    return Body(_encode(encode_many_counts(answer)), (_NO_STORE,))


def build_answer(body: Body, request: FastRequest) -> Answer:
    """200, or 304 to a client that has the body already."""
    if request.if_none_match is not None and body.etag and is_known(body.etag, if_none_match=request.if_none_match):
        return Answer(304, body.headers, b"")
    return Answer(200, (_JSON, *body.headers), body.content)


def build_refusal(error: Exception, request: FastRequest) -> tuple[Answer, str]:
    """With its code, as `viewcounter.api.errors` answers for the views. Faults of the service are logged."""
    problem = error.problem if isinstance(error, Refused) else find_problem(error)
    if problem is None:
        logger.error("request %s failed with an unexpected error", request.request_id, exc_info=error)
        problem = Problem(500, "internal_error", "Something went wrong on our side.")
    headers: Headers = [PROBLEM_LINE, _NO_STORE]
    if isinstance(error, Throttled):
        headers.append((b"retry-after", b"%d" % math.ceil(error.wait)))
    elif problem.status in (503, 504):
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    if isinstance(error, NotAuthenticated | AuthenticationFailed):
        headers.append((b"www-authenticate", CHALLENGE.encode()))
    if isinstance(error, Refused):
        headers.extend(error.headers)
    content = encode_problem(problem, request_id=request.request_id)
    return Answer(problem.status, tuple(headers), content), problem.code


def build_lines(
    answer: Answer,
    request: FastRequest,
    *,
    allowance: Allowance | None,
    security: Mapping[bool, tuple[tuple[bytes, bytes], ...]],
) -> Headers:
    """Every header line of the answer."""
    lines: Headers = [
        *answer.headers,
        _VARY,
        _ALLOWED[request.endpoint],
        (b"x-request-id", request.request_id.encode()),
        (b"content-length", b"%d" % len(answer.content)),
        *security[request.is_secure],
    ]
    if allowance is not None:
        present = {name for name, _ in lines}
        own = [(name.lower().encode(), value.encode()) for name, value in allowance.headers.items()]
        lines.extend(line for line in own if line[0] not in present)
    return lines


def collect_security_headers() -> dict[bool, tuple[tuple[bytes, bytes], ...]]:
    """The headers that Django's middleware adds to every response over HTTP (False) and over HTTPS (True)."""
    return {is_secure: _run_middleware(is_secure) for is_secure in (False, True)}


class _Request(HttpRequest):
    def __init__(self, *, is_secure: bool) -> None:
        super().__init__()
        self._is_secure = is_secure

    def is_secure(self) -> bool:
        return self._is_secure


def _run_middleware(is_secure: bool) -> tuple[tuple[bytes, bytes], ...]:
    def answer(_request: HttpRequest) -> HttpResponseBase:
        return HttpResponse()

    request, response = _Request(is_secure=is_secure), HttpResponse()
    plain = set(response.headers)
    for middleware in (SecurityMiddleware(answer), XFrameOptionsMiddleware(answer)):
        middleware.process_response(request, response)
    return tuple((n.lower().encode(), v.encode()) for n, v in response.headers.items() if n not in plain)


def _encode(body: Json) -> bytes:
    encoded: Any = _encoder.encode(body)
    return bytes(encoded)

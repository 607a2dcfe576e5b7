"""Caching by clients: ETag, 304 and Cache-Control.

Always `private`: responses are for holders of a key, and a shared cache would give them to any client.
"""

from hashlib import blake2b
from http import HTTPStatus

import msgspec
from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from runtime.http.problems import Problem
from viewcounter.api.answers import Json
from viewcounter.api.errors import build_problem_response
from viewcounter.config import get_config
from viewcounter.queries.meta import Meta

SHORTLY = "private, max-age=1"
"""Counts change all the time; one second in the browser's cache helps a page that reads them three times."""
REVALIDATE = "private, no-cache"
"""May be cached, but must be revalidated before use."""

_VOLATILE = ("as_of", "age_seconds")
"""Fields of `meta` that differ between two reads of the same rows."""

_ETAG_BYTES = 16
_encoder = msgspec.json.Encoder()


def build_read_response(
    request: Request, body: Json, *, meta: Meta, cache_control: str = SHORTLY, variant: str = ""
) -> Response | HttpResponse:
    """A 200 with its ETag, or 304 for a client that has the body. `variant`: the format of the body, if not JSON."""
    response = Response(body)
    response["ETag"] = compute_etag(body, variant=variant)
    response["Cache-Control"] = choose_cache_control(meta, default=cache_control)
    answer: HttpResponse = get_conditional_response(request._request, etag=response["ETag"], response=response)
    if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
        problem = Problem(412, "precondition_failed", "The answer is not the one that If-Match names.")
        return build_problem_response(request._request, problem)
    return answer


def compute_etag(body: Json, *, variant: str = "") -> str:
    """Strong: equal only for bodies that are equal in all but the time of the read."""
    digest = blake2b(_encoder.encode(_leave_out_volatile(body)), digest_size=_ETAG_BYTES)
    digest.update(variant.encode())
    return f'"{digest.hexdigest()}"'


def choose_cache_control(meta: Meta, *, default: str = SHORTLY) -> str:
    return f"private, max-age={get_config().api.closed_max_age_seconds}, immutable" if meta.is_final else default


def is_known(etag: str, *, if_none_match: str) -> bool:
    """Whether a GET with this header is answered by 304, as `build_read_response` does (RFC 9110, 13.1.2)."""
    tags = parse_etags(if_none_match)
    return tags == ["*"] or etag in (tag.removeprefix("W/") for tag in tags)


def _leave_out_volatile(body: Json) -> Json:
    """From `meta` of the answer and of the previous period within it."""
    lasting = {name: value for name, value in body["meta"].items() if name not in _VOLATILE}
    previous = {"previous": _leave_out_volatile(body["previous"])} if "previous" in body else {}
    return {**body, **previous, "meta": lasting}

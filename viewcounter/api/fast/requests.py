"""Requests that the fast path answers itself: plain ones, without options.

All others, invalid ones included, go to Django, so that there is one set of rules for them. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS, VIDEO_ID_PATTERN, VideoId, normalize_id
from viewcounter.web.request import choose_request_id
from viewcounter.web.site import Site

COUNTS_QUERY_PATH = "/v1/counts/query"
_COUNTS_START = "/v1/videos/"
_COUNTS_END = "/counts"
_VIDEO_ID = re.compile(VIDEO_ID_PATTERN)

_READ = frozenset(
    {b"authorization", b"host", b"accept", b"content-type", b"content-length", b"x-request-id", b"x-forwarded-proto"}
    | {b"if-none-match"}
)
_NOT_IMPLEMENTED = frozenset(
    {b"if-match", b"if-modified-since", b"if-unmodified-since", b"content-encoding", b"transfer-encoding"}
)
"""Headers that change a response in ways that the fast path does not implement."""
_ACCEPTED = frozenset({None, b"*/*", b"application/json", b"application/json, text/plain, */*"})
"""Values of clients that take any type; others need content negotiation."""
_JSON_TYPES = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_BEARER = b"bearer "
_LONGEST_LENGTH = 10  # digits


class Endpoint(StrEnum):
    """Values are the label `endpoint` of metrics."""

    COUNTS = "counts"
    COUNTS_QUERY = "counts_query"


@dataclass(frozen=True, slots=True)
class FastRequest:
    """`video_id` is of COUNTS, `content_length` of COUNTS_QUERY. `authorization` is a bearer's, if not None."""

    endpoint: Endpoint
    request_id: str
    authorization: bytes | None
    is_secure: bool
    video_id: str = ""
    content_length: int = 0
    if_none_match: str | None = None


class _CountsQuery(msgspec.Struct, forbid_unknown_fields=True):
    video_ids: list[VideoId]


_DECODER = msgspec.json.Decoder(_CountsQuery)


def find_fast_request(scope: Mapping[str, Any], *, site: Site, max_body_bytes: int) -> FastRequest | None:
    """None: for Django. `scope` is as ASGI gives it."""
    endpoint, video_id = _find_endpoint(scope)
    if endpoint is None or scope["query_string"]:
        return None
    headers = _read_headers(scope["headers"])
    if headers is None or not site.is_known_host(headers.get(b"host")):
        return None
    is_secure = site.is_secure(scope, headers.get(b"x-forwarded-proto"))
    if (site.settings.https_only and not is_secure) or not _is_plain(headers):
        return None
    if endpoint is Endpoint.COUNTS_QUERY and not _is_bounded_json(headers, max_body_bytes=max_body_bytes):
        return None
    if_none_match = headers.get(b"if-none-match")
    return FastRequest(
        endpoint,
        choose_request_id(headers.get(b"x-request-id")),
        headers.get(b"authorization"),
        is_secure,
        video_id,
        int(headers.get(b"content-length", b"0")) if endpoint is Endpoint.COUNTS_QUERY else 0,
        None if if_none_match is None else if_none_match.decode("latin-1"),
    )


def find_video_ids(body: bytes, *, max_videos: int) -> list[str] | None:
    """Of a valid body; None: Django answers with the errors."""
    try:
        video_ids = _DECODER.decode(body).video_ids
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return [normalize_id(video_id) for video_id in video_ids] if 1 <= len(video_ids) <= max_videos else None


def _find_endpoint(scope: Mapping[str, Any]) -> tuple[Endpoint | None, str]:
    if scope["type"] != "http":
        return None, ""
    method, path = scope["method"], scope["path"]
    if method == "GET" and path.startswith(_COUNTS_START) and path.endswith(_COUNTS_END):
        video_id = normalize_id(path[len(_COUNTS_START) : -len(_COUNTS_END)])
        if len(video_id) <= VIDEO_ID_MAX_CHARACTERS and _VIDEO_ID.match(video_id):
            return Endpoint.COUNTS, video_id
    elif method == "POST" and path == COUNTS_QUERY_PATH:
        return Endpoint.COUNTS_QUERY, ""
    return None, ""


def _read_headers(lines: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """None if a header is not implemented by the fast path, or is repeated."""
    headers: dict[bytes, bytes] = {}
    for name, value in lines:
        if name in _READ:
            if name in headers:
                return None
            headers[name] = value
        elif name in _NOT_IMPLEMENTED:
            return None
    return headers


def _is_plain(headers: Mapping[bytes, bytes]) -> bool:
    authorization = headers.get(b"authorization")
    is_bearer = authorization is None or authorization[: len(_BEARER)].lower() == _BEARER
    return is_bearer and headers.get(b"accept") in _ACCEPTED


def _is_bounded_json(headers: Mapping[bytes, bytes], *, max_body_bytes: int) -> bool:
    length = headers.get(b"content-length", b"")
    is_bounded = length.isdigit() and len(length) <= _LONGEST_LENGTH and int(length) <= max_body_bytes
    return is_bounded and headers.get(b"content-type") in _JSON_TYPES

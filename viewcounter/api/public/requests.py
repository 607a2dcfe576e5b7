"""Requests of web pages for numbers: which of them are answered here, and their query parameters. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from runtime.http.errors import Rejected
from runtime.http.problems import FieldProblem, Problem
from viewcounter.api.fast.requests import COUNTS_QUERY_PATH
from viewcounter.events.message import (
    EVENT_TYPE_MAX_CHARACTERS,
    VIDEO_ID_MAX_CHARACTERS,
    VIDEO_ID_PATTERN,
    normalize_id,
)

LABEL_MAX_CHARACTERS = 40
DEFAULT_EVENT_TYPE = "view"

_PATH = re.compile(r"/v1/videos/([^/]+)/(counts|counts/stream|badge\.svg)")
_VIDEO_ID = re.compile(VIDEO_ID_PATTERN)
_MAX_PARAMETERS = 10


class PublicEndpoint(StrEnum):
    """Values are the label `endpoint` of metrics."""

    COUNTS = "public_counts"
    COUNTS_QUERY = "public_counts_query"
    STREAM = "stream"
    BADGE = "badge"


METHODS: Mapping[PublicEndpoint, tuple[str, ...]] = {
    PublicEndpoint.COUNTS: ("GET", "HEAD"),
    PublicEndpoint.COUNTS_QUERY: ("POST",),
    PublicEndpoint.STREAM: ("GET",),
    PublicEndpoint.BADGE: ("GET", "HEAD"),
}
_ENDPOINTS = {
    "counts": PublicEndpoint.COUNTS,
    "counts/stream": PublicEndpoint.STREAM,
    "badge.svg": PublicEndpoint.BADGE,
}
_PARAMETERS: Mapping[PublicEndpoint, tuple[str, ...]] = {
    PublicEndpoint.COUNTS: ("key",),
    PublicEndpoint.COUNTS_QUERY: ("key",),
    PublicEndpoint.STREAM: ("key",),
    PublicEndpoint.BADGE: ("key", "event_type", "label"),
}
_KEYED = frozenset({PublicEndpoint.COUNTS, PublicEndpoint.COUNTS_QUERY})
"""Addresses that have another endpoint for requests without a key in them."""


@dataclass(frozen=True, slots=True)
class PublicRequest:
    """`key`: a token in the address. `event_type` and `label` are of a badge."""

    key: str | None = None
    event_type: str = DEFAULT_EVENT_TYPE
    label: str | None = None


def find_public_endpoint(scope: Mapping[str, Any]) -> tuple[PublicEndpoint, str] | None:
    """With the id of the video, empty where many are read. None: the request is for others."""
    if scope["type"] != "http":
        return None
    endpoint, video_id = _find_endpoint(scope["path"])
    if endpoint is None or (endpoint in _KEYED and b"key=" not in scope["query_string"]):
        return None
    return endpoint, video_id


def find_key(query: bytes) -> str | None:
    """The token in the address, before anything else of it is looked at: a wrong one is refused first."""
    try:
        return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)).get(
            "key"
        )
    except ValueError:
        return None


def parse_parameters(endpoint: PublicEndpoint, query: bytes) -> PublicRequest:
    """Of the raw query string. Raises Rejected (422) that names every wrong parameter."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise _invalid([FieldProblem("", "too_many_parameters", f"there may be {_MAX_PARAMETERS}")]) from None
    known = _PARAMETERS[endpoint]
    problems = [
        FieldProblem(name[:64], "unknown_parameter", f"is not a parameter here; there are: {', '.join(known)}")
        for name, _ in pairs
        if name not in known
    ]
    values = dict(pairs)
    if len(values) < len(pairs):
        problems.append(FieldProblem("", "repeated_parameter", "each parameter must be given once"))
    limits = {"event_type": EVENT_TYPE_MAX_CHARACTERS, "label": LABEL_MAX_CHARACTERS}
    problems += [
        FieldProblem(name, "too_long", f"must have at most {limit} characters")
        for name, limit in limits.items()
        if len(values.get(name, "")) > limit
    ]
    if problems:
        raise _invalid(problems)
    return PublicRequest(values.get("key"), values.get("event_type") or DEFAULT_EVENT_TYPE, values.get("label"))


def build_unknown_event_type(known: list[str]) -> Rejected:
    return _invalid([FieldProblem("event_type", "unknown_event_type", f"must be one of: {', '.join(known)}")])


def _find_endpoint(path: str) -> tuple[PublicEndpoint | None, str]:
    if path == COUNTS_QUERY_PATH:
        return PublicEndpoint.COUNTS_QUERY, ""
    match = _PATH.fullmatch(path)
    if match is None:
        return None, ""
    video_id = normalize_id(match[1])
    if len(video_id) > VIDEO_ID_MAX_CHARACTERS or not _VIDEO_ID.match(video_id):
        return None, ""
    return _ENDPOINTS[match[2]], video_id


def _invalid(problems: list[FieldProblem]) -> Rejected:
    return Rejected(Problem(422, "invalid_request", "The request has values that cannot be used.", tuple(problems)))

"""Numbers for web pages as the OpenAPI document shows them, written by hand: they have no DRF views."""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

from typing import Any

from viewcounter.api.openapi.patterns import ID_PATTERN
from viewcounter.api.public.requests import DEFAULT_EVENT_TYPE, LABEL_MAX_CHARACTERS
from viewcounter.catalogue.limits import ID_MAX_CHARACTERS
from viewcounter.events.message import EVENT_TYPE_MAX_CHARACTERS

Document = dict[str, Any]

_BOTH_KEYS: list[Document] = [{"apiKey": []}, {"publicKey": []}]
_VIDEO_ID = {
    "name": "video_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": ID_MAX_CHARACTERS, "pattern": ID_PATTERN},
}
_WITH_PUBLIC_KEYS = ("getVideoCounts", "queryCounts")

_STREAM: Document = {
    "operationId": "streamVideoCounts",
    "tags": ["reads"],
    "summary": "Counts of one video, live",
    "description": (
        "Server-sent events named `counts`, each with the body of `getVideoCounts` as its data: one at once, then at "
        "most one a second, when a count has changed. With a secret key (scope `stats:read`) or a public one (scope "
        "`counts:public`). Ends when the process stops or the key is revoked; browsers connect again by themselves. "
        "Past the limit of open streams 503 `too_many_streams`."
    ),
    "security": _BOTH_KEYS,
    "parameters": [_VIDEO_ID],
    "responses": {
        "200": {
            "description": "The stream.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'retry: 2000\n\nevent: counts\ndata: {"video_id":"XpVt6Z1Gjjo","known":true,…}\n\n',
                }
            },
        }
    },
}
_BADGE: Document = {
    "operationId": "getBadge",
    "tags": ["reads"],
    "summary": "A badge with one count of a video",
    "description": (
        "For an `<img>`. With a public key (scope `counts:public`) the `Referer`, if the browser sends one, must be a "
        "page of one of its origins."
    ),
    "security": _BOTH_KEYS,
    "parameters": [
        _VIDEO_ID,
        {
            "name": "event_type",
            "in": "query",
            "schema": {"type": "string", "maxLength": EVENT_TYPE_MAX_CHARACTERS, "default": DEFAULT_EVENT_TYPE},
        },
        {
            "name": "label",
            "in": "query",
            "description": "The text before the number. Left out: the event type.",
            "schema": {"type": "string", "maxLength": LABEL_MAX_CHARACTERS},
        },
    ],
    "responses": {
        "200": {
            "description": "May be cached for a minute.",
            "content": {
                "image/svg+xml": {
                    "schema": {"type": "string"},
                    "example": '<svg xmlns="http://www.w3.org/2000/svg" width="66" height="20">…</svg>',
                }
            },
        }
    },
}
_SCRIPT: Document = {
    "operationId": "getCountsScript",
    "tags": ["reads"],
    "summary": "The script that shows numbers in web pages",
    "description": "A page with a public key (scope `counts:public`) loads it to fill its `data-viewcounter` elements.",
    "security": [],
    "responses": {
        "200": {
            "description": "Kept by browsers for an hour; has an ETag.",
            "content": {"text/javascript": {"schema": {"type": "string"}}},
        },
        "304": {"description": "What the client has is what would be answered."},
    },
}


def add_public_reads(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook. Raises KeyError for an operation that there is not."""
    paths = {
        **result["paths"],
        "/v1/videos/{video_id}/counts/stream": {"get": _STREAM},
        "/v1/videos/{video_id}/badge.svg": {"get": _BADGE},
        "/v1/counts.js": {"get": _SCRIPT},
    }
    result["paths"] = dict(sorted(paths.items()))
    operations = {o["operationId"]: o for methods in paths.values() for o in methods.values()}
    for name in _WITH_PUBLIC_KEYS:
        operations[name]["security"] = _BOTH_KEYS
    return result

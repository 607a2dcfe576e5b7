"""`POST /v1/events` as the OpenAPI document shows it, written by hand: the ingest endpoint has no DRF view."""

from typing import Any

from runtime.http.problems import PROBLEM_CONTENT_TYPE
from viewcounter.api.openapi.patterns import ID_PATTERN, to_schema_pattern
from viewcounter.events.message import (
    EVENT_TYPE_MAX_CHARACTERS,
    VALUE_MAX,
    VIDEO_ID_MAX_CHARACTERS,
    VIEWER_ID_MAX_CHARACTERS,
    VIEWER_ID_PATTERN,
)

INGEST_COMPONENTS: dict[str, Any] = {
    "Event": {
        "type": "object",
        "required": ["event_id", "video_id", "event_type", "occurred_at"],
        "properties": {
            "event_id": {
                "type": "string",
                "format": "uuid",
                "description": (
                    "Chosen by the client, a new one for each event, the same at every retry. Version 7 preferred: "
                    "such an event is counted once for its video whatever is sent with the id again. With any other "
                    "version only if `occurred_at` is in the same minute: a retry must repeat the time. Braces and "
                    "`urn:uuid:` are read; the nil and the max UUID are refused."
                ),
            },
            "video_id": {
                "type": "string",
                "minLength": 1,
                "maxLength": VIDEO_ID_MAX_CHARACTERS,
                "pattern": ID_PATTERN,
                "description": (
                    "No white space, invisible characters or '/'; neither '.' nor '..'. Kept, and found, in normal "
                    "form C of Unicode."
                ),
            },
            "event_type": {"type": "string", "maxLength": EVENT_TYPE_MAX_CHARACTERS},
            "occurred_at": {
                "type": "string",
                "format": "date-time",
                "description": (
                    "With an offset from UTC. Cut to microseconds, never rounded; a leap second (`:60`) counts as the "
                    "last microsecond of its minute."
                ),
            },
            "value": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": VALUE_MAX,
                "description": "Of valued types, such as seconds of watch_time. Kept to thousandths.",
            },
            "viewer_id": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": VIEWER_ID_MAX_CHARACTERS,
                "pattern": to_schema_pattern(VIEWER_ID_PATTERN),
                "description": (
                    "Who watched, in your own words, the same in every event of theirs; no white space or control "
                    "characters. Only a keyed digest of it is stored, and no answer shows that."
                ),
            },
        },
    },
    "EventItem": {
        "type": "object",
        "description": "One event that was refused.",
        "required": ["index", "code", "message", "retryable"],
        "properties": {
            "index": {"type": "integer", "minimum": 0, "description": "Place in the batch, from 0."},
            "event_id": {"type": ["string", "null"]},
            "code": {"type": "string"},
            "field": {"type": ["string", "null"]},
            "message": {"type": "string"},
            "retryable": {"type": "boolean", "description": "Send this event again, unchanged."},
            "other_faults": {
                "type": "array",
                "description": "What else is wrong with the event; absent if nothing is.",
                "items": {
                    "type": "object",
                    "required": ["code", "field", "message"],
                    "properties": {
                        "code": {"type": "string"},
                        "field": {"type": ["string", "null"]},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    },
    "EventsAnswer": {
        "type": "object",
        "required": ["request_id", "accepted", "rejected", "items", "positions"],
        "properties": {
            "request_id": {"type": "string"},
            "accepted": {"type": "integer", "minimum": 0},
            "rejected": {"type": "integer", "minimum": 0},
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/EventItem"}},
            "positions": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Partition -> position in its log up to which this batch is durable.",
            },
            "ignored": {
                "type": "array",
                "items": {"type": "string"},
                "description": (
                    "Fields of the request that no event has, such as a misspelled `viewerId`: nothing of them is "
                    "stored. At most 20 names; absent if there are none."
                ),
            },
            "spooled": {
                "type": "boolean",
                "enum": [True],
                "description": "Only while the log is away: some events are on the gateway's disk, without a position.",
            },
            "applied": {
                "type": "boolean",
                "description": "With `wait=applied` only: everything accepted is counted. False is no error.",
            },
        },
    },
}

_EVENT = {"$ref": "#/components/schemas/Event"}
_EVENT_LIST = {"type": "array", "items": _EVENT, "minItems": 1}
_ANSWER = {"application/json": {"schema": {"$ref": "#/components/schemas/EventsAnswer"}}}

INGEST_OPERATION: dict[str, Any] = {
    "operationId": "postEvents",
    "tags": ["events"],
    "summary": "Send events",
    "description": (
        'One event, an array, `{{"events": […]}}` or `{{"batch": […]}}`, or one event a line (NDJSON, also under '
        "its other common names and under `application/json`); optionally with "
        "`Content-Encoding: gzip` or `zstd`, in one stream or several. "
        "At most {max_events} events and {max_bytes} bytes, packed or not. Events "
        "from {window_days} days ago to {future_seconds} seconds ahead are accepted. The answer is sent when the "
        "accepted events are durable; a refused event never sinks the others. Sending an event again, with the same "
        "id, counts it once."
    ),
    "security": [{"apiKey": []}, {"publicKey": []}],
    "parameters": [
        {
            "name": "wait",
            "in": "query",
            "schema": {"type": "string", "enum": ["applied"]},
            "description": (
                "`applied`: answer when the accepted events are counted, at most {wait_seconds:g} seconds later. The "
                "answer has `applied` then; false means not yet, the events are safe all the same."
            ),
        },
        {
            "name": "strict",
            "in": "query",
            "schema": {"type": "string", "enum": ["1", "true", "0", "false"], "default": "0"},
            "description": (
                "`1`: an event with a field that no event has is refused (`unknown_field`). Otherwise the field is "
                "ignored, and `ignored` of the answer names it."
            ),
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            "description": (
                "The same key with the same body gets the same answer within {idempotency_seconds} seconds, with "
                "`Idempotent-Replayed: true`, and nothing is appended again. With another body: 422 "
                "`idempotency_key_reused`. While the first request is under way: 409 `idempotency_key_in_use`. Only "
                "spares work: a retry of the same events is counted once by their ids, with or without a key."
            ),
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        _EVENT,
                        _EVENT_LIST,
                        {"type": "object", "required": ["events"], "properties": {"events": _EVENT_LIST}},
                        {"type": "object", "required": ["batch"], "properties": {"batch": _EVENT_LIST}},
                    ]
                },
            },
            "text/plain": {
                "schema": {"type": "string", "description": "The same JSON from a web page, with a public key only."}
            },
            "application/x-ndjson": {"schema": {"type": "string", "description": "One JSON event a line."}},
        },
    },
    "responses": {
        "202": {"description": "All events are durable.", "content": _ANSWER},
        "207": {"description": "Some events are durable; `items` names the others.", "content": _ANSWER},
        "422": {
            "description": "No event was valid: `items` says why. Or the whole request could not be used: a problem.",
            "content": {**_ANSWER, PROBLEM_CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
}

PUBLIC_KEY_SCHEME = {
    "type": "apiKey",
    "in": "query",
    "name": "key",
    "description": (
        "A public key (`vcp_…`), for web pages: their `Origin` must be one that the key names. It sends events (scope "
        "`events:write`) or reads counts (`counts:public`), and nothing else. It may stand in the "
        "header of secret keys too. A secret key is refused here (401 `secret_key_in_address`)."
    ),
}

PREFLIGHT_OPERATION: dict[str, Any] = {
    "operationId": "askBeforePostEvents",
    "tags": ["events"],
    "summary": "CORS preflight of a page that sends events",
    "description": "Browsers send it by themselves before the request of a page on another origin.",
    "security": [{}, {"publicKey": []}],
    "parameters": [
        {
            "name": "Origin",
            "in": "header",
            "required": True,
            "description": "Without it the request is no preflight, and the answer is 405.",
            "schema": {"type": "string", "example": "https://www.example.com"},
        },
    ],
    "responses": {"204": {"description": "The page may; headers say what."}},
}

SNIPPET_OPERATION: dict[str, Any] = {
    "operationId": "getSnippet",
    "tags": ["events"],
    "summary": "The script for web pages",
    "description": "A page with a public key loads it to count views and watch time of its videos.",
    "security": [],
    "responses": {
        "200": {
            "description": "Kept by browsers for an hour; has an ETag.",
            "content": {"text/javascript": {"schema": {"type": "string"}}},
        },
        "304": {"description": "What the client has is what would be answered."},
    },
}

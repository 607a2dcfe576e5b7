"""Additions to the document of drf-spectacular: the ingest endpoint, which is no DRF view, and the errors."""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension

from runtime.http.problems import PROBLEM_CONTENT_TYPE
from viewcounter.api.openapi.ingest_document import (
    INGEST_COMPONENTS,
    INGEST_OPERATION,
    PREFLIGHT_OPERATION,
    PUBLIC_KEY_SCHEME,
    SNIPPET_OPERATION,
)
from viewcounter.api.openapi.patterns import mend_patterns
from viewcounter.config import get_config

Document = dict[str, Any]

_TEXT = {"type": "string"}

_FIELD_PROBLEM: Document = {
    "type": "object",
    "required": ["field", "code", "message"],
    "properties": {
        "field": {**_TEXT, "description": "A parameter or a path into the body, such as `videos[3].channel_id`."},
        "code": {**_TEXT, "description": "Stable, for programs."},
        "message": {**_TEXT, "description": "For people."},
    },
}

_PROBLEM: Document = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {**_TEXT, "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": {**_TEXT, "description": "Stable, for programs."},
        "request_id": {**_TEXT, "description": "Quote it in questions about this error."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldProblem"}},
        "reached": {
            "type": "object",
            "additionalProperties": _TEXT,
            "description": "With `position_not_reached` and `too_stale`: the partition, and the position it is at.",
        },
    },
    "example": {
        "type": "urn:viewcounter:problem:invalid_request",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "The request has values that cannot be used.",
        "code": "invalid_request",
        "request_id": "8f0c9d4e0c3b4f0f9d2a5a7f6f3f2b10",
        "errors": [
            {
                "field": "function",
                "code": "unknown_function",
                "message": "must be one of: count, sum, average, min, max",
            }
        ],
    },
}


def add_ingest_endpoint(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook: the ingest endpoint, with its configured limits.

    `GET` of the same address is a view of DRF.
    """
    config = get_config()
    paths: Document = result["paths"]
    limits = {
        "max_events": config.request.max_events,
        "max_bytes": config.request.max_bytes,
        "window_days": config.accept.past_seconds // 86400,
        "future_seconds": config.accept.future_seconds,
        "wait_seconds": config.wait_applied.seconds,
        "idempotency_seconds": config.idempotency.seconds,
    }
    operation = {
        **INGEST_OPERATION,
        "description": INGEST_OPERATION["description"].format(**limits),
        "parameters": [p | {"description": p["description"].format(**limits)} for p in INGEST_OPERATION["parameters"]],
    }
    ingest = {
        "/v1/events": {**paths.get("/v1/events", {}), "post": operation, "options": PREFLIGHT_OPERATION},
        "/v1/viewcounter.js": {"get": SNIPPET_OPERATION},
    }
    result["paths"] = dict(sorted({**paths, **ingest}.items()))
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(INGEST_COMPONENTS)
    components.setdefault("securitySchemes", {})["publicKey"] = PUBLIC_KEY_SCHEME
    return result


def add_not_modified(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook: reads carry an ETag and answer 304 to a client that has it."""
    header = {"ETag": {"schema": _TEXT, "description": "Send it as `If-None-Match` to get 304 while nothing changed."}}
    for operations in result["paths"].values():
        operation = operations.get("get", {})
        if "reads" in operation.get("tags", ()):
            operation["responses"]["200"].setdefault("headers", {}).update(header)
            operation["responses"]["304"] = {"description": "The client has the current body."}
    return result


def use_schema_patterns(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook: validators have patterns of Python."""
    mended: Document = mend_patterns(result)
    return mended


class ClosedObjects(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Bodies of requests refuse fields that they do not know; the document says so."""

    target_class = "viewcounter.api.serializers.RequestSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Document:
        schema: Document = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**schema, "additionalProperties": False} if direction == "request" else schema


def add_problem_answers(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook: the problem document as the default response of every operation."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update({"Problem": _PROBLEM, "FieldProblem": _FIELD_PROBLEM})
    components.setdefault("responses", {})["Problem"] = {
        "description": "Any error. 503 and 504 carry Retry-After; the same request may succeed then.",
        "content": {PROBLEM_CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    return result

"""Additions to the document of drf-spectacular: the ingest endpoint, which is no DRF view, and open routes."""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension

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


def name_open_routes(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook: an operation without a key says so; drf-spectacular leaves it out."""
    for operations in result["paths"].values():
        for operation in operations.values():
            operation.setdefault("security", [])
    return result

"""Settings of the API; and those of Django REST framework and of the OpenAPI document, for `viewcounter.settings`."""

from dataclasses import dataclass
from pathlib import Path

from runtime.settings import setting

REST_FRAMEWORK: dict[str, object] = {
    # Everything is denied unless a view names the scope that each of its methods needs.
    "DEFAULT_AUTHENTICATION_CLASSES": ["viewcounter.api.authentication.BearerKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["viewcounter.api.permissions.RequireScope"],
    "DEFAULT_THROTTLE_CLASSES": ["viewcounter.api.throttling.KeyThrottle"],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_PARSER_CLASSES": ["viewcounter.api.parsers.BoundedJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "viewcounter.api.errors.handle_error",
    "URL_FORMAT_OVERRIDE": None,
    "UNICODE_JSON": True,
    "STRICT_JSON": True,
}

SPECTACULAR_SETTINGS: dict[str, object] = {
    "TITLE": "viewcounter REST API",  # generated packages are named by it, none of them as our client
    "VERSION": "1",
    "SERVERS": [{"url": "/", "description": "The server of this document."}],
    "DESCRIPTION": (
        "Counts events on videos and answers how many, for which video, in which period.\n\n"
        "Times are RFC 3339 with an offset; a start is inclusive, an end exclusive; both are rounded down to the "
        "minute and every answer states the period it covers. Every error is `application/problem+json` with a "
        "stable `code` and the `request_id` to quote."
    ),
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    # A literal of JavaScript: Swagger UI itself has no place for code samples.
    "SWAGGER_UI_SETTINGS": (Path(__file__).parent / "openapi" / "assets" / "docs.js").read_text(),
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "DISABLE_DOCSTRING_DESCRIPTIONS": True,
    "SCHEMA_PATH_PREFIX": "/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "DeadLetterState": ["new", "replayed", "discarded"],
        "RecountState": "viewcounter.maintenance.models.RecountState",
        "PartStatus": ["up", "degraded", "down"],
        "ReadinessStatus": ["ready", "degraded", "unready"],
    },
    "GENERIC_ADDITIONAL_PROPERTIES": None,
    "SORT_OPERATION_PARAMETERS": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "viewcounter.api.openapi.hooks.add_ingest_endpoint",
        "viewcounter.api.openapi.public_document.add_public_reads",
        "viewcounter.api.openapi.examples.add_examples",
        "viewcounter.api.openapi.links.add_links",
        "viewcounter.api.openapi.hooks.add_not_modified",
        "viewcounter.api.openapi.hooks.name_open_routes",
        "viewcounter.api.openapi.problems.add_problem_answers",
        "viewcounter.api.openapi.samples.add_code_samples",
        "viewcounter.api.openapi.hooks.use_schema_patterns",
    ],
    "TAGS": [
        {"name": "events", "description": "Sending events."},
        {"name": "reads", "description": "Counts, statistics and top lists."},
        {"name": "catalogue", "description": "Titles of videos and channels."},
        {"name": "operations", "description": "Audits, recounts and dead letters."},
        {"name": "health", "description": "For load balancers and operators."},
    ],
}


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Answers of the API."""

    stats_max_buckets: int = setting(1500, "Maximum number of buckets in one answer with statistics; beyond it 422.")
    counts_query_max_videos: int = setting(
        500, "Maximum number of videos in one request for counts of many videos; beyond it 422."
    )
    top_max_limit: int = setting(500, "Maximum `limit` of a request for top videos or channels; beyond it 422.")
    receipt_log_entries: int = setting(
        200, "Maximum number of entries of the event log that the search for one receipt reads."
    )
    history_max_epochs: int = setting(
        100, "Maximum number of epochs in one answer with the history of the cluster; beyond it 422."
    )
    closed_max_age_seconds: int = setting(
        3600, "Cache-Control max-age of answers about closed time windows: clients may reuse them this long.", ge=0
    )


@dataclass(frozen=True, slots=True)
class HotReadSettings:
    """Counts answered without Django."""

    threads: int = setting(8, "Number of threads of a web process that read counts which are not in its memory.")
    max_waiting: int = setting(
        256, "Maximum number of different counts that a web process reads or queues at once; beyond it 503."
    )
    max_bodies: int = setting(
        4096, "Maximum number of rendered answers that a web process keeps; the least recent ones are dropped."
    )
    seconds: float = setting(5.0, "Maximum duration of a read of counts, its wait for a thread included; then 504.")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Live counts as server-sent events."""

    max_connections: int = setting(
        1000,
        "Maximum number of live streams of a web process; beyond it 503. Less than VIEWCOUNTER_WEB_MAX_CONNECTIONS, so"
        " that other requests have connections left.",
    )
    max_videos: int = setting(
        200, "Maximum number of videos that are watched live in a web process, each read once an interval; then 503."
    )
    interval_seconds: float = setting(
        1.0, "Interval at which the counts of a video are read while it is watched live, however many watch it."
    )
    alive_seconds: float = setting(
        15.0,
        "Silence of a live stream after which a comment is sent and the API key is checked again; a revoked key ends"
        " its streams within this time.",
    )
    send_seconds: float = setting(30.0, "Time after which a live stream whose client reads nothing is cut off.")

"""Settings of Django REST framework and of the OpenAPI document, as plain data for `viewcounter.settings`."""

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
    "TITLE": "viewcounter",
    "VERSION": "1",
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
        "viewcounter.api.openapi.examples.add_examples",
        "viewcounter.api.openapi.links.add_links",
        "viewcounter.api.openapi.hooks.add_not_modified",
        "viewcounter.api.openapi.hooks.add_problem_answers",
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

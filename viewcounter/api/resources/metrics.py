"""`GET /metrics` for Prometheus, which sends the key from its scrape configuration (`authorization: credentials`)."""
# ruff: noqa: ARG002 (the arguments are the framework's)

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from runtime.metrics import CONTENT_TYPE, render_metrics
from viewcounter.api.resources.base import ApiView
from viewcounter.apikeys.scopes import Scope


class PrometheusTextRenderer(BaseRenderer):
    """`render_metrics` returns text already."""

    media_type = "text/plain"
    format = "txt"
    charset = None

    def render(
        self, data: bytes, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return data


class MetricsView(ApiView):
    """Metrics are of the whole cluster, hence the scope."""

    required_scopes = {"GET": Scope.ADMIN}
    renderer_classes = (PrometheusTextRenderer,)

    @extend_schema(
        operation_id="getMetrics",
        tags=["health"],
        summary="Metrics of this host, in Prometheus' text format",
        description="Counters of all its processes together; measured gauges of the whole cluster.",
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> Response:
        return Response(render_metrics(), content_type=CONTENT_TYPE)

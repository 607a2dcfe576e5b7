"""`GET /v1/schema`: the OpenAPI document, built once in a process and rendered once in each requested format.

It needs no key, takes tenths of a second to build, and drf-spectacular cannot make its first one in two threads. Only
the example events are new in every answer.
"""

from datetime import UTC, datetime
from threading import Lock
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

# drf-spectacular loads it while it makes its first document, which then lacks what is said of serializers there.
import viewcounter.api.openapi.hooks  # noqa: F401
from viewcounter.api.openapi.examples import renew_events
from viewcounter.queries.errors import InvalidQuery

_lock = Lock()  # held while the document is made, so that a crowd makes one


class SchemaView(SpectacularAPIView):
    """JSON, unless `?format=yaml` or the Accept header requests YAML.

    `forms`: the rendered document and the one it is rendered from by media type; as many as there are renderers.
    """

    renderer_classes = [OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2]
    forms: ClassVar[dict[str, tuple[bytes, dict[str, Any]]]] = {}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[Any, str]:
        """`?format=` decides before the Accept header, which a browser's address bar cannot change."""
        wanted = request.query_params.get("format")
        if wanted is None:
            chosen: tuple[Any, str] = super().perform_content_negotiation(request, force)
            return chosen
        renderers: list[Any] = self.get_renderers()
        found = next((renderer for renderer in renderers if renderer.format == wanted), None)
        if found is None:
            names = ", ".join(dict.fromkeys(renderer.format for renderer in renderers))
            raise InvalidQuery("format", "unknown_format", f"must be one of: {names}")
        return found, found.media_type

    def _get_schema_response(self, request: Request) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        with _lock:
            if renderer.media_type not in self.forms:
                generator: Any = self.generator_class()
                document = generator.get_schema(request=request, public=self.serve_public)
                self.forms[renderer.media_type] = renderer.render(document, renderer_context={}), document
        content, document = self.forms[renderer.media_type]
        charset = "" if renderer.charset is None else f"; charset={renderer.charset}"
        response = HttpResponse(
            renew_events(content, document, now=datetime.now(UTC)), content_type=renderer.media_type + charset
        )
        response["Cache-Control"] = "no-store"
        response["Content-Disposition"] = f'inline; filename="viewcounter.{renderer.format}"'
        return response

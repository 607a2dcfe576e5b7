"""`GET /v1/schema`: the OpenAPI document, built once in a process and cached in each requested format.

It needs no key, takes tenths of a second to build, and drf-spectacular cannot make its first one in two threads.
"""

from threading import Lock
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

# drf-spectacular loads it while it makes its first document, which then lacks what is said of serializers there.
import viewcounter.api.openapi.hooks  # noqa: F401

_lock = Lock()  # held while the document is made, so that a crowd makes one


class SchemaView(SpectacularAPIView):
    """`forms` by media type: as many as there are renderers."""

    forms: ClassVar[dict[str, bytes]] = {}

    def _get_schema_response(self, request: Request) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        with _lock:
            if renderer.media_type not in self.forms:
                generator: Any = self.generator_class()
                document = generator.get_schema(request=request, public=self.serve_public)
                self.forms[renderer.media_type] = renderer.render(document, renderer_context={})
        charset = "" if renderer.charset is None else f"; charset={renderer.charset}"
        response = HttpResponse(self.forms[renderer.media_type], content_type=renderer.media_type + charset)
        response["Content-Disposition"] = f'inline; filename="viewcounter.{renderer.format}"'
        return response

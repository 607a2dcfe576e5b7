"""What all views share: scopes, the request's id, caching, and bodies without a Content-Length."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from viewcounter.api.request_id import REQUEST_ID_HEADER, get_request_id
from viewcounter.gateway.scopes import Scope


class ApiView(APIView):
    """`required_scopes`: the scope each method needs; a method that is not named is denied."""

    required_scopes: ClassVar[Mapping[str, Scope]] = {}
    cache_control: ClassVar[str] = "no-store"
    http_method_names = ["get", "head", "post", "put"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "HTTP_TRANSFER_ENCODING" in request.META:
            # DRF takes a body of unknown length for an empty one; the size limit is checked while reading.
            request.META["CONTENT_LENGTH"] = str(len(request.body))

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault(REQUEST_ID_HEADER, get_request_id(request._request))
        response.headers.setdefault("Cache-Control", self.cache_control)
        return response


SHORTLY = "private, max-age=1"
"""Counts move all the time; a second of the browser's own cache spares a page that asks thrice."""

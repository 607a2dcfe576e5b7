"""Base classes of all views: scopes, the request's id, caching, and bodies without a Content-Length."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from viewcounter.api.parameters import check_parameters
from viewcounter.api.read_options import READ_PARAMETERS, get_read_options
from viewcounter.api.request_id import REQUEST_ID_HEADER, get_request_id
from viewcounter.api.throttling import get_rate_headers
from viewcounter.apikeys.scopes import Scope
from viewcounter.queries.freshness import DEFAULT, ReadOptions


class ApiView(APIView):
    """`required_scopes`: the scope each method needs; a method that is not named is denied."""

    required_scopes: ClassVar[Mapping[str, Scope]] = {}
    http_method_names = ["get", "head", "post", "put"]

    @property
    def default_response_headers(self) -> dict[str, str]:
        """A cached response is for its key only."""
        headers: dict[str, str] = super().default_response_headers
        return {**headers, "Vary": ", ".join(filter(None, ("Authorization", headers.get("Vary"))))}

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
        response.headers.setdefault("Cache-Control", "no-store")
        for name, value in get_rate_headers(request).items():
            response.headers.setdefault(name, value)
        return response


class ReadView(ApiView):
    """A read of the shards. `parameters`: its own, besides those that all reads take."""

    parameters: ClassVar[tuple[str, ...]] = ()

    def get_options(self, request: Request, *, one_video: bool) -> ReadOptions:
        """Checks the names of all parameters, and the values of those that all reads take. Raises InvalidQuery."""
        check_parameters(request.query_params, allowed=(*self.parameters, *READ_PARAMETERS))
        options = get_read_options(request.query_params, one_video=one_video)
        if options is not DEFAULT:
            # A client that requires freshness, or the route, does not want a response from its browser's cache.
            self.headers["Cache-Control"] = "no-store"
        return options

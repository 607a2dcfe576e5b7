"""Content-Security-Policy of the pages for people: scripts and styles only from files of this service.

Templates have neither inline scripts, inline styles nor event handlers; data for charts is JSON, which no browser runs.
"""

from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

PAGE_STARTS = ("/admin/", "/videos/", "/channels/")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADER = "Content-Security-Policy"


class ContentPolicy(MiddlewareMixin):
    """Adds the policy to answers below PAGE_STARTS that have none of their own."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path.startswith(PAGE_STARTS):
            response.headers.setdefault(HEADER, POLICY)
        return response

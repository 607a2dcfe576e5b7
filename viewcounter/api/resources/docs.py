"""`GET /v1/docs`: the OpenAPI document to be read and tried out, from assets of this server alone."""

from drf_spectacular.views import SpectacularSwaggerSplitView

# Swagger UI sets styles on elements and has its pictures within its style sheet; its script comes by an address of its
# own here, so that no script within the page need be allowed. Requests that are tried out go to this server only.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class DocsView(SpectacularSwaggerSplitView):
    url_name = "api:schema"

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {**super().default_response_headers, "Content-Security-Policy": POLICY}

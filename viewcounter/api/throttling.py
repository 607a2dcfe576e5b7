"""The request limit of an API key as a DRF throttle: the same buckets as at the ingest endpoint."""
# ruff: noqa: ARG002 (the arguments are the framework's)

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from viewcounter.apikeys.rate_limit import Allowance, Unit, get_rate_limiter
from viewcounter.apikeys.scopes import AuthenticatedKey


class KeyThrottle(BaseThrottle):
    """Stores the allowance in the request, for the headers of its response."""

    def __init__(self) -> None:
        self._allowance: Allowance | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, AuthenticatedKey):
            return True
        allowance = get_rate_limiter().take(request.auth, Unit.REQUESTS, 1)
        if allowance is None:
            return True
        self._allowance = request._request.rate_allowance = allowance
        return allowance.is_allowed

    def wait(self) -> float | None:
        return None if self._allowance is None else self._allowance.wait_seconds


def get_rate_headers(request: Request) -> dict[str, str]:
    """Empty for a key without a limit."""
    allowance: Allowance | None = getattr(request._request, "rate_allowance", None)
    return {} if allowance is None else allowance.headers

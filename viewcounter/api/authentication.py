"""Authentication by the API key of the `Authorization: Bearer` header, as the ingest endpoint does it."""
# ruff: noqa: ARG002 (the arguments are the framework's)

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from viewcounter.apikeys.authentication import authenticate
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.scopes import AuthenticatedKey
from viewcounter.web.checked_requests import KEY_VERDICT, KeyVerdict

CHALLENGE = 'Bearer realm="viewcounter"'


class BearerKeyAuthentication(BaseAuthentication):
    """`request.auth` is the AuthenticatedKey, or None when no key was sent. KeysUnavailable passes through."""

    def authenticate(self, request: Request) -> tuple[AuthenticatedKey, AuthenticatedKey] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Send the API key as 'Authorization: Bearer <key>'.", code="invalid_key")
        try:
            key = _check_key(request, token.strip())
        except InvalidKey:
            raise build_invalid_key_error() from None
        return key, key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _check_key(request: Request, token: str) -> AuthenticatedKey:
    """Looks the key up unless the gateway in front has checked it already. Raises InvalidKey or KeysUnavailable."""
    verdict: KeyVerdict | None = getattr(request._request, "scope", {}).get(KEY_VERDICT)
    if verdict is None:
        return authenticate(token)
    if isinstance(verdict, Exception):
        raise verdict
    return verdict


def build_missing_key_error() -> NotAuthenticated:
    return NotAuthenticated("Send an API key as 'Authorization: Bearer <key>'.", code="missing_key")


def build_invalid_key_error() -> AuthenticationFailed:
    return AuthenticationFailed("The API key is not valid.", code="invalid_key")


def get_actor(request: Request) -> str:
    """The client, as it is recorded with a change."""
    return f"API key {request.auth.name} ({request.auth.prefix})"


class BearerKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the authentication in the OpenAPI document."""

    target_class = "viewcounter.api.authentication.BearerKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "vc_<prefix>_<secret>"}

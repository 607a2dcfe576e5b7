"""Origins of web pages that use a public key, and the CORS headers of the responses.

A public key is in the source of a page, so everybody has it. It may only send events and read counts, and browsers let
only pages of its origins use it. That keeps other sites from using it, not programs, which may claim any origin: those
are bounded by the rate limits of the key.
"""

import re
from collections.abc import Collection

from runtime.http.asgi import Headers
from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from viewcounter.apikeys.scopes import AuthenticatedKey

_ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
ORIGIN_MAX_CHARACTERS = 200

PREFLIGHT_SECONDS = 600
"""How long a browser may cache the answer to a preflight request. Each request is checked all the same."""

_VARY = (b"vary", b"Origin")
READABLE = (b"access-control-allow-origin", b"*")
"""Lets the developer of a page read the body of a refusal, which holds nothing that is not in the page."""
_EXPOSED = (
    b"access-control-expose-headers",
    b"retry-after, x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-ratelimit-unit",
)


def find_origin_fault(origin: str) -> str | None:
    """Why no browser could ever send `origin`; None if one could."""
    if len(origin) > ORIGIN_MAX_CHARACTERS:
        return f"has more than {ORIGIN_MAX_CHARACTERS} characters"
    if not _ORIGIN.fullmatch(origin):
        return "is not scheme://host or scheme://host:port in lower case, such as https://www.example.com"
    scheme = origin.partition(":")[0]
    if origin.endswith(_DEFAULT_PORTS[scheme]):
        return f"names the port that {scheme} has anyway; browsers leave it out"
    return None


def build_preflight_lines(methods: Collection[str]) -> Headers:
    """Of the response to a preflight request, besides those of `check_origin`."""
    return (
        (b"access-control-allow-methods", ", ".join(methods).encode()),
        (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, x-request-id"),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
    )


def check_origin(key: AuthenticatedKey, origin: bytes | None) -> Headers:
    """CORS headers for the response to a page that uses a public key. Raises Rejected (403)."""
    if origin is None:
        detail = "A public key is for web pages: the request has no Origin. Programs use a secret key."
        raise Rejected(Problem(status=403, code="origin_missing", detail=detail), headers=(_VARY,))
    if not _is_allowed(origin, key.allowed_origins):
        shown = origin[:ORIGIN_MAX_CHARACTERS].decode("ascii", "replace")
        detail = f"The public key {key.prefix} may not be used by pages of {shown}."
        raise Rejected(Problem(status=403, code="origin_not_allowed", detail=detail), headers=(_VARY, READABLE))
    return ((b"access-control-allow-origin", origin), _EXPOSED, _VARY)


def _is_allowed(origin: bytes, allowed: Collection[str]) -> bool:
    """Origins of a key are ASCII; no other bytes can match one."""
    return origin.decode("latin-1") in allowed

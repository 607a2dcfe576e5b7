"""Web pages that send events: which of them may use a public key, and what their browsers have to be told (CORS).

A public key stands in the source of a page, so everybody has it. What it is worth is bounded: it may only send events,
and browsers let only pages of its origins use it. That keeps other sites from using it, not programs, which may claim
any origin: limits of the key are for those.
"""

import re
from collections.abc import Collection

from runtime.http.problems import Problem
from viewcounter.apikeys.key_cache import AuthenticatedKey
from viewcounter.ingest.errors import Refused

Headers = tuple[tuple[bytes, bytes], ...]

_ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
ORIGIN_MAX_CHARACTERS = 200

PREFLIGHT_SECONDS = 600
"""How long a browser need not ask again. What an origin may send is checked at each request all the same."""

_VARY = (b"vary", b"Origin")
READABLE = (b"access-control-allow-origin", b"*")
"""Of a refusal: whoever develops the page reads the reason in it. It holds nothing that is not in the page."""
_METHODS = (b"access-control-allow-methods", b"POST")
_HEADERS = (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, x-request-id")
_MAX_AGE = (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS)
_EXPOSED = (
    b"access-control-expose-headers",
    b"retry-after, x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-ratelimit-unit",
)


def find_origin_fault(origin: str) -> str | None:
    """Why a browser could never send `origin` as it stands; None if it could."""
    if len(origin) > ORIGIN_MAX_CHARACTERS:
        return f"has more than {ORIGIN_MAX_CHARACTERS} characters"
    if not _ORIGIN.fullmatch(origin):
        return "is not scheme://host or scheme://host:port in lower case, such as https://www.example.com"
    scheme = origin.partition(":")[0]
    if origin.endswith(_DEFAULT_PORTS[scheme]):
        return f"names the port that {scheme} has anyway; browsers leave it out"
    return None


def check_origin(key: AuthenticatedKey, origin: bytes | None) -> Headers:
    """For the answer to a page; nothing for a secret key. Raises Refused (403)."""
    if not key.is_public:
        return ()
    if origin is None:
        detail = "A public key is for web pages: the request has no Origin. Programs use a secret key."
        raise Refused(Problem(status=403, code="origin_missing", detail=detail), headers=(_VARY,))
    if not _is_allowed(origin, key.allowed_origins):
        shown = origin[:ORIGIN_MAX_CHARACTERS].decode("ascii", "replace")
        detail = f"The public key {key.prefix} may not be used by pages of {shown}."
        raise Refused(Problem(status=403, code="origin_not_allowed", detail=detail), headers=(_VARY, READABLE))
    return ((b"access-control-allow-origin", origin), _EXPOSED, _VARY)


def allow_preflight(origin_headers: Headers) -> Headers:
    """What a browser wants to know before it sends more than a simple request."""
    return (*origin_headers, _METHODS, _HEADERS, _MAX_AGE)


def _is_allowed(origin: bytes, allowed: Collection[str]) -> bool:
    """Origins of a key are ASCII; whatever else a client sends is none of them."""
    return origin.decode("latin-1") in allowed

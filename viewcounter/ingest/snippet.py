"""Scripts for web pages, such as `GET /v1/viewcounter.js`, served without an API key."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

from runtime.http.asgi import Receive, Send, respond, respond_refused
from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from viewcounter.web.request import read_head

SNIPPET_PATH = "/v1/viewcounter.js"
METHODS = frozenset({"GET", "HEAD"})
MAX_AGE_SECONDS = 3600
"""How long browsers may use a cached script; afterwards they revalidate it by its ETag."""

_FILE = Path(__file__).parent / "assets" / "viewcounter.js"


class Snippet:
    """An ASGI application for the address of one script. Reads the file once."""

    def __init__(self, file: Path = _FILE) -> None:
        self._content = file.read_bytes()
        etag = f'"{blake2b(self._content, digest_size=16).hexdigest()}"'.encode()
        self._etag = etag
        self._lasting = [
            (b"etag", etag),
            (b"cache-control", b"public, max-age=%d" % MAX_AGE_SECONDS),
            (b"access-control-allow-origin", b"*"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: dict[str, Any], _receive: Receive, send: Send) -> None:
        if scope["method"] not in METHODS:
            problem = Problem(status=405, code="method_not_allowed", detail="The script is read with GET.")
            refusal = Rejected(problem, headers=((b"allow", b"GET, HEAD"),))
            await respond_refused(send, refusal, request_id=read_head(scope["headers"]).request_id)
            return
        if self._is_cached(scope["headers"]):
            await respond(send, 304, self._lasting)
            return
        described = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"content-length", b"%d" % len(self._content)),
        ]
        body = b"" if scope["method"] == "HEAD" else self._content
        await respond(send, 200, [*self._lasting, *described], body)

    def _is_cached(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether the client has the current script (RFC 9110, 13.1.2); weak and strong tags are equal here."""
        offered = b",".join(value for name, value in headers if name == b"if-none-match")
        tags = [tag.strip().removeprefix(b"W/") for tag in offered.split(b",")]
        return self._etag in tags or tags == [b"*"]

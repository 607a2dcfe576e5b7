"""`GET /v1/viewcounter.js`: the script for web pages, the same for everybody, answered without a key."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

from runtime.http.problems import Problem
from viewcounter.ingest.endpoint import send_refusal
from viewcounter.ingest.errors import Refused
from viewcounter.ingest.request_head import read_head
from viewcounter.web.body import Receive

SNIPPET_PATH = "/v1/viewcounter.js"
METHODS = frozenset({"GET", "HEAD"})
MAX_AGE_SECONDS = 3600
"""How long pages may go on with the script of before; afterwards browsers ask by its ETag."""

_FILE = Path(__file__).parent / "assets" / "viewcounter.js"


class Snippet:
    """An ASGI application for one address. Reads the file once."""

    def __init__(self) -> None:
        self._content = _FILE.read_bytes()
        etag = f'"{blake2b(self._content, digest_size=16).hexdigest()}"'.encode()
        self._etag = etag
        self._lasting = [
            (b"etag", etag),
            (b"cache-control", b"public, max-age=%d" % MAX_AGE_SECONDS),
            (b"access-control-allow-origin", b"*"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: dict[str, Any], _receive: Receive, send: Any) -> None:
        if scope["method"] not in METHODS:
            problem = Problem(status=405, code="method_not_allowed", detail="The script is read with GET.")
            refusal = Refused(problem, headers=((b"allow", b"GET, HEAD"),))
            await send_refusal(refusal, send, request_id=read_head(scope["headers"]).request_id)
            return
        if self._is_known(scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": self._lasting})
            await send({"type": "http.response.body", "body": b""})
            return
        described = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"content-length", b"%d" % len(self._content)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": [*self._lasting, *described]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self._content})

    def _is_known(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether the client has it (RFC 9110, 13.1.2); weak and strong tags are the same here."""
        offered = b",".join(value for name, value in headers if name == b"if-none-match")
        tags = [tag.strip().removeprefix(b"W/") for tag in offered.split(b",")]
        return self._etag in tags or tags == [b"*"]

"""Reads an HTTP request in front of Django: its head, the query parameters of `POST /v1/events`, and its body.

Every dimension of a body is bounded: its bytes as sent and as decompressed, its time, and the bytes held for all
bodies. An oversized body is read on and discarded for a while: closing on a client that is still sending resets the
connection, and the client would never see why.
"""

import asyncio
import re
import sys
import uuid
import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from runtime.http.asgi import Headers, Receive
from runtime.http.errors import ClientGone, Rejected, TryLater
from runtime.http.problems import FieldProblem, Problem
from viewcounter.web.settings import RequestLimits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Encoding(StrEnum):
    """Compression of request bodies, by the names in Content-Encoding."""

    GZIP = "gzip"
    ZSTD = "zstd"


CLOSE: Headers = ((b"connection", b"close"),)

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_JSON_TYPES = {
    b"application/json": False,
    # None of these names is registered; senders use all of them for one JSON text a line.
    b"application/x-ndjson": True,
    b"application/ndjson": True,
    b"application/jsonl": True,
    b"application/x-jsonl": True,
    b"application/jsonlines": True,
    b"application/x-jsonlines": True,
    b"application/json-lines": True,
    b"text/x-ndjson": True,
    b"text/jsonl": True,
}
_MAX_STREAMS = 100
"""Streams of one compressed body: each one costs a decompressor and a copy of what follows it."""
_ENCODINGS = {encoding.value.encode(): encoding for encoding in Encoding}
_ACCEPTED: Headers = ((b"accept-encoding", b"gzip, zstd"),)  # RFC 9110: names the encodings that are supported
_LONGEST_LENGTH = 18  # digits; Python refuses to parse thousands of them
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})

_PARAMETERS = ("wait", "key", "strict")
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_APPLIED = "applied"
_MAX_PARAMETERS = 10

_GZIP_WINDOW_BITS = 31  # zlib's way to say: gzip header and trailer, largest window
# 8 MiB, what RFC 9659 lets a sender of this encoding use; a frame may name a window of gigabytes.
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class Head(NamedTuple):
    """Raw header values, None where a header is missing; `request_id` is the client's if sane, else a new one.

    `host` is empty if the header is repeated.
    """

    request_id: str
    authorization: bytes | None
    content_type: bytes | None
    content_encoding: bytes | None
    content_length: int | None
    idempotency_key: bytes | None
    origin: bytes | None = None
    host: bytes | None = None
    forwarded_proto: bytes | None = None


class Content(NamedTuple):
    """Format of the body. `encoding` None: not compressed."""

    is_ndjson: bool
    encoding: Encoding | None


class IngestParams(NamedTuple):
    """Query parameters of `POST /v1/events`. `waits`: respond once the events are counted, or when the wait times
    out. `key`: a public API key, for senders that cannot set headers. `is_strict`: events with fields that no event has
    are refused."""

    waits: bool
    key: str | None = None
    is_strict: bool = False


_NO_PARAMS = IngestParams(waits=False)


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """One pass over the header lines, which ASGI gives with names in lower case."""
    authorization = content_type = content_encoding = content_length = request_id = idempotency_key = origin = None
    host = forwarded_proto = None
    for name, value in headers:
        if name == b"authorization":
            authorization = value
        elif name == b"content-type":
            content_type = value
        elif name == b"content-length":
            content_length = int(value) if value.isdigit() and len(value) <= _LONGEST_LENGTH else None
        elif name == b"content-encoding":
            content_encoding = value
        elif name == b"x-request-id":
            request_id = value
        elif name == b"idempotency-key":
            idempotency_key = value
        elif name == b"origin":
            origin = value
        elif name == b"host":
            host = value if host is None else b""
        elif name == b"x-forwarded-proto" and forwarded_proto is None:
            forwarded_proto = value
    return Head(
        choose_request_id(request_id),
        authorization,
        content_type,
        content_encoding,
        content_length,
        idempotency_key,
        origin,
        host,
        forwarded_proto,
    )


def choose_request_id(offered: bytes | None) -> str:
    """The client's own id if it is short and plain, else a new one."""
    if offered is not None and _SANE_REQUEST_ID.fullmatch(offered):
        return offered.decode("ascii")
    return str(uuid.uuid4())


def parse_content(head: Head, *, allows_text: bool = False) -> Content:
    """Raises Rejected (415) for anything but JSON or NDJSON, plain or in one of the encodings.

    `allows_text`: JSON may be declared as text, the only type that a page can send without a preflight request.
    """
    is_ndjson = _JSON_TYPES.get(head.content_type or b"")
    if is_ndjson is None:
        is_ndjson = _parse_content_type((head.content_type or b"").decode("latin-1"), allows_text=allows_text)
    if head.content_encoding is None:
        return Content(is_ndjson, None)
    name = head.content_encoding.strip().lower()
    encoding = _ENCODINGS.get(name)
    if encoding is None and name != b"identity":
        raise _unsupported("unsupported_encoding", "Content-Encoding must be gzip, zstd or identity.", _ACCEPTED)
    return Content(is_ndjson, encoding)


def _parse_content_type(text: str, *, allows_text: bool) -> bool:
    """Whether it is NDJSON."""
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    is_ndjson = _JSON_TYPES.get(kind.encode("latin-1"))
    if is_ndjson is None and allows_text and kind == "text/plain":
        is_ndjson = False
    if is_ndjson is None:
        raise _unsupported("unsupported_media_type", "Content-Type must be application/json or application/x-ndjson.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _CHARSETS:
            raise _unsupported("unsupported_charset", "The charset must be utf-8.")
    return is_ndjson


def _unsupported(code: str, detail: str, headers: Headers = ()) -> Rejected:
    return Rejected(Problem(status=415, code=code, detail=detail), headers=headers)


def parse_params(query: bytes) -> IngestParams:
    """`query` is the raw query string. Raises Rejected (422) that names the wrong parameter."""
    if not query:
        return _NO_PARAMS
    try:
        parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise _invalid(FieldProblem("", "too_many_parameters", f"there may be {_MAX_PARAMETERS}")) from error
    found: dict[str, str] = {}
    faults = []
    for name, value in parameters:
        if name not in _PARAMETERS:
            message = f"is not a parameter here; there are: {', '.join(_PARAMETERS)}"
            faults.append(FieldProblem(name[:64], "unknown_parameter", message))
        elif name in found:
            faults.append(FieldProblem(name, "repeated_parameter", "must be given once"))
        else:
            found[name] = value
    if found.get("wait") not in (None, _APPLIED):
        faults.append(FieldProblem("wait", "unknown_wait", f"must be: {_APPLIED}"))
    if found.get("strict", "0") not in _FLAGS:
        faults.append(FieldProblem("strict", "invalid_flag", f"must be one of: {', '.join(_FLAGS)}"))
    if faults:
        raise _invalid(*faults)
    return IngestParams(waits="wait" in found, key=found.get("key"), is_strict=_FLAGS[found.get("strict", "0")])


def _invalid(*faults: FieldProblem) -> Rejected:
    return Rejected(Problem(422, "invalid_request", "The request has values that cannot be used.", faults))


class BodyReader:
    """Lives on one event loop. Invariant: `_held` has the received bytes of each incomplete body, the oldest body
    first, and `held_bytes` is their sum."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._held: dict[asyncio.Timeout, int] = {}
        self.held_bytes = 0

    async def read(self, receive: Receive, *, declared_bytes: int | None) -> bytes:
        """The whole body as it was sent. Raises Rejected (413), TryLater (408) or ClientGone."""
        limits = self._limits
        deadline = asyncio.timeout(limits.body_seconds)
        try:
            async with deadline:
                if declared_bytes is not None and declared_bytes > limits.max_bytes:
                    await _refuse_declared(receive, declared_bytes, limits)
                return await self._receive(receive, deadline)
        except TimeoutError as error:
            raise self._too_slow() from error
        finally:
            self._release(deadline)

    async def _receive(self, receive: Receive, deadline: asyncio.Timeout) -> bytes:
        limits = self._limits
        message = await receive()
        body: bytes = message.get("body", b"")
        chunks = [body]
        size = len(body)
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            if size > limits.max_bytes:
                chunks.clear()
                self._release(deadline)
                size, is_whole = await _discard(receive, message, size, limits)
                raise _too_large(f"{size}" if is_whole else f"more than {size}", limits, close=not is_whole)
            if not message.get("more_body", False):
                return body if len(chunks) == 1 else b"".join(chunks)
            self._hold(deadline, len(chunks[-1]))
            message = await receive()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])

    def _hold(self, deadline: asyncio.Timeout, count: int) -> None:
        """When memory is scarce, the oldest incomplete body is timed out: a body sent at once is complete at once."""
        self._held[deadline] = self._held.get(deadline, 0) + count
        self.held_bytes += count
        while self.held_bytes > self._limits.bodies_held_max_bytes:
            oldest = next(iter(self._held))
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
            self._release(oldest)

    def _release(self, deadline: asyncio.Timeout) -> None:
        self.held_bytes -= self._held.pop(deadline, 0)

    def _too_slow(self) -> TryLater:
        detail = f"The body was not whole within {self._limits.body_seconds:g} seconds, or its memory was needed."
        problem = Problem(status=408, code="body_too_slow", detail=detail)
        return TryLater(problem, headers=CLOSE, adds_retry_after=False)


async def _refuse_declared(receive: Receive, declared_bytes: int, limits: RequestLimits) -> None:
    """Raises Rejected; reads nothing first where the body is longer than `discard_bytes`."""
    is_whole = False
    if declared_bytes <= limits.discard_bytes:
        _, is_whole = await _discard(receive, await receive(), 0, limits)
    raise _too_large(str(declared_bytes), limits, close=not is_whole)


async def _discard(receive: Receive, message: dict[str, Any], size: int, limits: RequestLimits) -> tuple[int, bool]:
    """Reads on past `message` and keeps nothing. Returns the bytes received in all and whether the body ended."""
    while message.get("more_body", False):
        if size > limits.discard_bytes:
            return size, False
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
    return size, True


def _too_large(received: str, limits: RequestLimits, *, close: bool) -> Rejected:
    detail = f"The body has {received} bytes; the limit is {limits.max_bytes} bytes."
    return Rejected(Problem(status=413, code="body_too_large", detail=detail), headers=CLOSE if close else ())


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def unpack(data: bytes, encoding: Encoding, *, max_bytes: int) -> bytes:
    """Decompresses the gzip members or zstd frames of a body, `max_bytes` in all. Raises Rejected (400, 413)."""
    body, rest = _unpack_stream(data, encoding, max_bytes)
    if not rest:
        return body
    parts = [body]
    size = len(body)
    for _ in range(_MAX_STREAMS - 1):
        body, rest = _unpack_stream(rest, encoding, max_bytes - size)
        parts.append(body)
        size += len(body)
        if not rest:
            return b"".join(parts)
    detail = f"The body has more than {_MAX_STREAMS} {encoding} streams. Compress the events as one stream."
    raise Rejected(Problem(status=413, code="too_many_streams", detail=detail))


def _unpack_stream(data: bytes, encoding: Encoding, max_bytes: int) -> tuple[bytes, bytes]:
    """One stream at the start of `data`, and the bytes behind it."""
    decompressor: _Decompressor = (
        zlib.decompressobj(_GZIP_WINDOW_BITS)
        if encoding is Encoding.GZIP
        else zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
    )
    try:
        # One byte more than allowed: distinguishes "too large" from "exactly the limit".
        body = decompressor.decompress(data, max_bytes + 1)
    except (zlib.error, zstd.ZstdError) as error:
        raise _malformed(encoding, f"The body, or what follows its first stream, is not {encoding}.") from error
    if len(body) > max_bytes:
        detail = f"The body unpacks to more than its limit: {max_bytes} bytes were left at its last {encoding} stream."
        raise Rejected(Problem(status=413, code="body_too_large", detail=detail))
    if not decompressor.eof:
        raise _malformed(encoding, f"The {encoding} stream is cut short.")
    return body, decompressor.unused_data


def _malformed(encoding: Encoding, detail: str) -> Rejected:
    return Rejected(Problem(status=400, code=f"malformed_{encoding}", detail=detail))

"""What the lane reads from the head of a request: one pass over the headers, nothing kept of the others."""

import re
import uuid
from collections.abc import Iterable
from typing import NamedTuple

from runtime.http.problems import Problem
from viewcounter.ingest.errors import Refused
from viewcounter.web.encodings import Encoding

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_JSON_TYPES = {b"application/json": False, b"application/x-ndjson": True}
_ENCODINGS = {encoding.value.encode(): encoding for encoding in Encoding}
_ACCEPTED = ((b"accept-encoding", b"gzip, zstd"),)  # RFC 9110: which ones it might be
_LONGEST_LENGTH = 18  # digits; Python refuses to parse thousands of them
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


class Head(NamedTuple):
    """Raw header values, None where a header is missing; `request_id` is the client's if sane, else a new one.

    `host` is empty where the header stands twice.
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
    """How the body is to be read. `encoding` None: as it is."""

    is_ndjson: bool
    encoding: Encoding | None


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """`headers` as ASGI gives them: names in lower case."""
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
    identity = choose_request_id(request_id)
    return Head(
        identity,
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
    """The client's own if it is short and plain, else a new one."""
    if offered is not None and _SANE_REQUEST_ID.fullmatch(offered):
        return offered.decode("ascii")
    return str(uuid.uuid4())


def parse_content(head: Head, *, allows_text: bool = False) -> Content:
    """Raises Refused (415) for anything but JSON or NDJSON, plain or packed in one of the encodings.

    `allows_text`: JSON may say that it is text, the only type that a page can send without asking first.
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


def _unsupported(code: str, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Refused:
    return Refused(Problem(status=415, code=code, detail=detail), headers=headers)

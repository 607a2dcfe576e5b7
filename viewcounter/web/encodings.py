"""Unpacking bodies without ever holding more than the limit of what they unpack to: a bomb is refused, not inflated."""

import sys
import zlib
from enum import StrEnum
from typing import Protocol

from runtime.http.problems import Problem
from viewcounter.ingest.errors import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP_WINDOW_BITS = 31  # zlib's way to say: gzip header and trailer, largest window
# 8 MiB, what RFC 9659 lets a sender of this encoding use; a frame may name a window of gigabytes.
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class Encoding(StrEnum):
    """Of request bodies, by their names in Content-Encoding."""

    GZIP = "gzip"
    ZSTD = "zstd"


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def unpack(data: bytes, encoding: Encoding, *, max_bytes: int) -> bytes:
    """One stream or frame, whole and alone. Raises Refused (400, 413)."""
    unpacker: _Unpacker = (
        zlib.decompressobj(_GZIP_WINDOW_BITS)
        if encoding is Encoding.GZIP
        else zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
    )
    try:
        # One byte more than allowed tells "too large" from "exactly as large".
        body = unpacker.decompress(data, max_bytes + 1)
    except (zlib.error, zstd.ZstdError) as error:
        raise _malformed(encoding, f"The body is not {encoding}.") from error
    if len(body) > max_bytes:
        detail = f"The body of {len(data)} bytes unpacks to more than the limit of {max_bytes} bytes."
        raise Refused(Problem(status=413, code="body_too_large", detail=detail))
    if not unpacker.eof:
        raise _malformed(encoding, f"The {encoding} stream is cut short.")
    if unpacker.unused_data:
        raise _malformed(encoding, f"Something follows the {encoding} stream.")
    return body


def _malformed(encoding: Encoding, detail: str) -> Refused:
    return Refused(Problem(status=400, code=f"malformed_{encoding}", detail=detail))

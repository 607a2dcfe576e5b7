"""JSON bodies that are safe to parse."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import JSONParser


class BoundedJsonParser(JSONParser):
    """DRF's own, which holds bodies to DATA_UPLOAD_MAX_MEMORY_SIZE, plus what it lets through.

    `[` a hundred thousand times is a RecursionError, not a ValueError, and would be answered as 500. A
    compressed body would be reported as broken JSON.
    """

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        request = (parser_context or {}).get("request")
        encoding = request.headers.get("Content-Encoding", "identity") if request is not None else "identity"
        if encoding.lower() != "identity":
            raise UnsupportedMediaType(encoding, "Send this body without Content-Encoding.", "unsupported_encoding")
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.", "nested_too_deeply") from None

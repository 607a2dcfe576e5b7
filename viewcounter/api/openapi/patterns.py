"""Patterns for JSON Schema, whose text has no lone surrogates, unlike the strings of Python."""

from typing import Any

from viewcounter.events.message import VIDEO_ID_PATTERN

_SURROGATES = r"\ud800-\udfff"
_END = (r"\Z", "$")


def to_schema_pattern(pattern: str) -> str:
    """The ECMA-262 pattern that matches the same texts as a pattern of Python."""
    return pattern.replace(_SURROGATES, "").replace(*_END).replace(r"\x", r"\u00")


ID_PATTERN = to_schema_pattern(VIDEO_ID_PATTERN)


_BLANK = {"type": "string", "maxLength": 0}


def mend_patterns(value: Any) -> Any:
    """Every `pattern` within a document; and text that may be empty, which is said as if its pattern forbade it."""
    if isinstance(value, dict):
        if _BLANK in value.get("oneOf", ()):
            return mend_patterns({**value["oneOf"][0], **{n: part for n, part in value.items() if n != "oneOf"}})
        return {
            name: to_schema_pattern(part) if name == "pattern" and isinstance(part, str) else mend_patterns(part)
            for name, part in value.items()
        }
    return [mend_patterns(part) for part in value] if isinstance(value, list) else value

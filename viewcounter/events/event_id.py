"""Reads event ids: UUIDs in the usual spellings. Nil and max stand for "no id" and would join unrelated events."""

from uuid import UUID

NIL = 0
MAX = (1 << 128) - 1
_URN = "urn:uuid:"
_HEXADECIMAL_LENGTHS = (32, 36)  # without and with hyphens


def parse_event_id(text: str) -> UUID:
    """Also in braces, and as `urn:uuid:`. Raises ValueError."""
    if text[: len(_URN)].lower() == _URN:
        text = text[len(_URN) :]
    elif text[:1] == "{" and text[-1:] == "}":
        text = text[1:-1]
    plain = text.replace("-", "")
    if len(text) not in _HEXADECIMAL_LENGTHS or not plain.isalnum() or not text.isascii():
        raise ValueError("not a UUID")
    parsed = UUID(hex=plain)
    if len(text) != len(plain) and text.lower() != str(parsed):
        raise ValueError("not a UUID: its hyphens are misplaced")
    return parsed

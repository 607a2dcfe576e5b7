"""Keyset pagination: a cursor is the key of a page's last row, signed for one list by its salt."""

import hashlib
from datetime import datetime
from typing import Any

from django.core import signing

from viewcounter.queries.errors import InvalidQuery
from viewcounter.storage.page_keys import PageKey

NUMBER_MAX_DIGITS = 18


def encode_cursor(at: datetime, *rest: Any, salt: str) -> str:
    """`at` and `rest` (integers and text) are the key."""
    return str(signing.dumps([at.isoformat(), *rest], salt=salt))


def decode_cursor(cursor: str, *, salt: str) -> list[Any]:
    """The arguments of `encode_cursor`. Raises InvalidQuery for a cursor that this service did not make, or made for
    another list."""
    try:
        at, *rest = signing.loads(cursor, salt=salt)
    except signing.BadSignature:
        raise _refuse() from None
    return [datetime.fromisoformat(at), *rest]


def encode_page_key(key: PageKey | None, *, salt: str) -> str | None:
    """For lists over all shards. None: there is no next page."""
    return None if key is None else encode_cursor(key.created_at, key.partition, key.id, salt=salt)


def decode_page_key(cursor: str | None, *, salt: str) -> PageKey | None:
    """Raises as `decode_cursor`."""
    return None if cursor is None else PageKey(*decode_cursor(cursor, salt=salt))


def decode_number(cursor: str | None) -> int | None:
    """For lists in the order of a serial number, which is the whole cursor. Raises InvalidQuery."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= NUMBER_MAX_DIGITS):
        raise _refuse()
    return int(cursor)


def compute_digest(parameters: tuple[Any, ...]) -> str:
    """For cursors that are valid with the same parameters only."""
    return hashlib.sha256(repr(parameters).encode()).hexdigest()[:16]


def _refuse() -> InvalidQuery:
    return InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier page")

"""The cursor of raw slices: where the next page begins, signed, and good only for the question it was made for."""

import hashlib
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core import signing

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.raw_events import RawPlace

_SALT = "viewcounter.raw_slice"


def encode_cursor(place: RawPlace, *, question: tuple[Any, ...]) -> str:
    """`question`: what every page must ask alike; the limit may change from page to page."""
    value = [place.occurred_at.isoformat(), place.event_id.hex, _get_digest(question)]
    return str(signing.dumps(value, salt=_SALT))


def decode_cursor(cursor: str, *, question: tuple[Any, ...]) -> RawPlace:
    """Raises InvalidQuery for one that this service did not make, or made for another question."""
    try:
        occurred_at, event_id, digest = signing.loads(cursor, salt=_SALT)
    except signing.BadSignature:
        raise InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier page") from None
    if digest != _get_digest(question):
        message = "belongs to a page with another video_id, start_time, end_time or event_type"
        raise InvalidQuery("cursor", "cursor_of_another_question", message)
    return RawPlace(datetime.fromisoformat(occurred_at), UUID(event_id))


def _get_digest(question: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(question).encode()).hexdigest()[:16]

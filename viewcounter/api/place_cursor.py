"""The cursor of lists over all shards: the place behind which the next page begins, signed for one list by its salt."""

from datetime import datetime
from uuid import UUID

from django.core import signing

from viewcounter.queries.errors import InvalidQuery
from viewcounter.storage.page_keys import PageKey

NUMBER_MAX_DIGITS = 18


def encode_place(place: PageKey | None, *, salt: str) -> str | None:
    """None for no next page."""
    if place is None:
        return None
    return str(signing.dumps([place.created_at.isoformat(), place.partition, place.id], salt=salt))


def decode_place(cursor: str | None, *, salt: str) -> PageKey | None:
    """Raises InvalidQuery for one that this service did not make, or made for another list."""
    if cursor is None:
        return None
    try:
        created_at, partition, row_id = signing.loads(cursor, salt=salt)
    except signing.BadSignature:
        raise InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier answer") from None
    return PageKey(datetime.fromisoformat(created_at), partition, row_id)


def decode_number(cursor: str | None) -> int | None:
    """Of lists in the order of a running number, which is all that their cursors are. Raises InvalidQuery."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= NUMBER_MAX_DIGITS):
        raise InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier page")
    return int(cursor)


def encode_job(created_at: datetime, job_id: UUID, *, salt: str) -> str:
    return str(signing.dumps([created_at.isoformat(), job_id.hex], salt=salt))


def decode_job(cursor: str | None, *, salt: str) -> tuple[datetime, UUID] | None:
    """Raises InvalidQuery for one that this service did not make."""
    if cursor is None:
        return None
    try:
        created_at, job_id = signing.loads(cursor, salt=salt)
    except signing.BadSignature:
        raise InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier page") from None
    return datetime.fromisoformat(created_at), UUID(job_id)

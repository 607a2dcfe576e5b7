"""The cursor of lists over all shards: the place behind which the next page begins, signed for one list by its salt."""

from datetime import datetime

from django.core import signing

from viewcounter.queries.errors import InvalidQuery
from viewcounter.storage.places import Place


def encode_place(place: Place | None, *, salt: str) -> str | None:
    """None for no next page."""
    if place is None:
        return None
    return str(signing.dumps([place.created_at.isoformat(), place.partition, place.id], salt=salt))


def decode_place(cursor: str | None, *, salt: str) -> Place | None:
    """Raises InvalidQuery for one that this service did not make, or made for another list."""
    if cursor is None:
        return None
    try:
        created_at, partition, row_id = signing.loads(cursor, salt=salt)
    except signing.BadSignature:
        raise InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier answer") from None
    return Place(datetime.fromisoformat(created_at), partition, row_id)

"""Encodes the arguments of `track` to the bytes that are sent. Refuses at once what the service would refuse."""

import json
import math
import os
import re
import time
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from viewcounter_client.errors import InvalidEvent

VIDEO_ID_MAX_CHARACTERS = 128
VIEWER_ID_MAX_CHARACTERS = 128
EVENT_TYPE_MAX_CHARACTERS = 64
VALUE_MAX = 1_000_000
_VIDEO_ID = re.compile(
    r"(?!\.{1,2}\Z)[^\x00-\x20\x7f-\xa0/\ud800-\udfff\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0]+"
)
_VIEWER_ID = re.compile(r"[^\x00-\x20\x7f-\xa0\ud800-\udfff\u2028\u2029\ufeff]+")
_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """`body` is the event as one line of JSON; the id in it stays the same at every attempt."""

    event_id: str
    body: bytes


def make_event(
    event_type: str,
    *,
    video_id: str,
    occurred_at: datetime | None = None,
    value: float | None = None,
    viewer_id: str | None = None,
    event_id: UUID | str | None = None,
) -> PendingEvent:
    """Raises InvalidEvent that names the argument."""
    if not isinstance(event_type, str) or not _EVENT_TYPE.fullmatch(event_type):
        raise InvalidEvent("event_type", "must be lower-case letters, digits and _, starting with a letter")
    if len(event_type) > EVENT_TYPE_MAX_CHARACTERS:
        raise InvalidEvent("event_type", f"has more than {EVENT_TYPE_MAX_CHARACTERS} characters")
    if not isinstance(video_id, str) or not _VIDEO_ID.fullmatch(video_id):
        raise InvalidEvent("video_id", "must be visible characters without white space and '/', and not '.' or '..'")
    if max(len(video_id), len(unicodedata.normalize("NFC", video_id))) > VIDEO_ID_MAX_CHARACTERS:
        raise InvalidEvent("video_id", f"has more than {VIDEO_ID_MAX_CHARACTERS} characters")
    identity = str(make_uuid7()) if event_id is None else _parse_id(event_id)
    fields: dict[str, object] = {
        "event_id": identity,
        "video_id": video_id,
        "event_type": event_type,
        "occurred_at": _format_time(datetime.now(UTC) if occurred_at is None else occurred_at),
    }
    if value is not None:
        fields["value"] = _check_value(value)
    if viewer_id is not None:
        fields["viewer_id"] = _check_viewer(viewer_id)
    return PendingEvent(identity, json.dumps(fields, separators=(",", ":")).encode())


def read_event(line: bytes) -> PendingEvent:
    """An event from a spooled line. Raises ValueError for a damaged one."""
    fields = json.loads(line)
    if not isinstance(fields, dict) or not isinstance(fields.get("event_id"), str):
        raise ValueError("not an event")
    return PendingEvent(fields["event_id"], line)


def make_uuid7() -> UUID:
    """RFC 9562: milliseconds of Unix time, then random bits. The service finds an id's minute in it."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    with_version = 0x7 << 12 | random_bits >> 64 & 0xFFF
    with_variant = 0b10 << 62 | random_bits & (1 << 62) - 1
    return UUID(int=milliseconds << 80 | with_version << 64 | with_variant)


def _parse_id(event_id: UUID | str) -> str:
    try:
        return str(event_id if isinstance(event_id, UUID) else UUID(event_id))
    except (ValueError, AttributeError, TypeError):
        raise InvalidEvent("event_id", "must be a UUID") from None


def _format_time(occurred_at: datetime) -> str:
    if not isinstance(occurred_at, datetime) or occurred_at.utcoffset() is None:
        raise InvalidEvent("occurred_at", "must be a datetime with a time zone")
    return occurred_at.isoformat()


def _check_value(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidEvent("value", "must be a finite number")
    if not 0 <= value <= VALUE_MAX:
        raise InvalidEvent("value", f"must be from 0 to {VALUE_MAX}")
    return value


def _check_viewer(viewer_id: str) -> str:
    if not isinstance(viewer_id, str) or not _VIEWER_ID.fullmatch(viewer_id):
        raise InvalidEvent("viewer_id", "must be printable characters without white space, or None")
    if len(viewer_id) > VIEWER_ID_MAX_CHARACTERS:
        raise InvalidEvent("viewer_id", f"has more than {VIEWER_ID_MAX_CHARACTERS} characters")
    return viewer_id

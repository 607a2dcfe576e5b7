"""Why one decoded item is not an event: the stable code, the field, the limit.

Only items that typed decoding has already refused come here, so clarity goes before speed. Text of the client
is never repeated as it came: it may hold what an answer cannot (lone surrogates).
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from viewcounter.events.message import (
    EVENT_TYPE_MAX_CHARACTERS,
    VALUE_MAX,
    VIDEO_ID_MAX_CHARACTERS,
    VIDEO_ID_PATTERN,
    VIEWER_ID_MAX_CHARACTERS,
    VIEWER_ID_PATTERN,
)
from viewcounter.ingest.items import ItemProblem

_VIDEO_ID = re.compile(VIDEO_ID_PATTERN)
_VIEWER_ID = re.compile(VIEWER_ID_PATTERN)


class _Reason(NamedTuple):
    code: str
    message: str


def explain_item(item: object, *, index: int) -> ItemProblem:
    """`item` is decoded JSON that is not an `Event`."""
    if not isinstance(item, dict):
        return ItemProblem(index, None, "invalid_type", None, "Expected an object.")
    event_id = _find_event_id(item)
    for field in ("event_id", "video_id", "event_type", "occurred_at"):
        if field not in item:
            return ItemProblem(index, event_id, "missing_field", field, f"{field} is required.")
    for field, check in _CHECKS.items():
        reason = check(item.get(field))
        if reason is not None:
            return ItemProblem(index, event_id, reason.code, field, reason.message)
    return ItemProblem(index, event_id, "invalid_event", None, "This is not an event.")


def _find_event_id(item: dict[str, Any]) -> str | None:
    parsed = _find_converted(item.get("event_id"), UUID)
    return None if parsed is None else str(parsed)


def _find_converted(value: object, kind: type) -> Any:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError):  # a lone surrogate is no part of an id or a time
        return None


def _check_event_id(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected a UUID as text.")
    if _find_converted(value, UUID) is None:
        return _Reason("invalid_id", "Expected a UUID, for example 0190163d-8694-739b-aea5-966c26f8ad91.")
    return None


def _check_video_id(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected text.")
    if len(value) > VIDEO_ID_MAX_CHARACTERS:
        return _Reason("too_long", f"Has {len(value)} characters; the limit is {VIDEO_ID_MAX_CHARACTERS}.")
    if not _VIDEO_ID.search(value):
        return _Reason("invalid_id", "Expected printable characters without white space and without '/'.")
    return None


def _check_event_type(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected text.")
    if len(value) > EVENT_TYPE_MAX_CHARACTERS:
        return _Reason("too_long", f"Has {len(value)} characters; the limit is {EVENT_TYPE_MAX_CHARACTERS}.")
    return None


def _check_occurred_at(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected a time as text.")
    parsed = _find_converted(value, datetime)
    if parsed is None:
        return _Reason("invalid_time", "Expected an RFC 3339 time, for example 2026-01-31T12:00:00Z.")
    if parsed.tzinfo is None:
        return _Reason("missing_offset", "The time needs an offset from UTC, for example Z or +02:00.")
    return None


def _check_value(value: object) -> _Reason | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _Reason("invalid_type", "Expected a number.")
    if not 0 <= value <= VALUE_MAX:  # also false for NaN
        return _Reason("out_of_range", f"Expected a number from 0 to {VALUE_MAX}.")
    return None


def _check_viewer_id(value: object) -> _Reason | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected text.")
    if len(value) > VIEWER_ID_MAX_CHARACTERS:
        return _Reason("too_long", f"Has {len(value)} characters; the limit is {VIEWER_ID_MAX_CHARACTERS}.")
    if not _VIEWER_ID.search(value):
        return _Reason("invalid_id", "Expected printable characters without white space, or no viewer_id at all.")
    return None


_CHECKS: dict[str, Callable[[object], _Reason | None]] = {
    "event_id": _check_event_id,
    "video_id": _check_video_id,
    "event_type": _check_event_type,
    "occurred_at": _check_occurred_at,
    "value": _check_value,
    "viewer_id": _check_viewer_id,
}

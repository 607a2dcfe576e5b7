"""Explains why JSON is not an event: every fault of it, by field, code and limit.

Values of clients are never repeated: they may hold characters that no response can (lone surrogates).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from viewcounter.events.event_id import MAX, NIL, parse_event_id
from viewcounter.events.message import (
    EVENT_TYPE_MAX_CHARACTERS,
    VALUE_MAX,
    VIDEO_ID_MAX_CHARACTERS,
    VIDEO_ID_PATTERN,
    VIEWER_ID_MAX_CHARACTERS,
    VIEWER_ID_PATTERN,
    normalize_id,
)
from viewcounter.events.times import NotATime, parse_time

_VIDEO_ID = re.compile(VIDEO_ID_PATTERN)
_VIEWER_ID = re.compile(VIEWER_ID_PATTERN)
_REQUIRED = ("event_id", "video_id", "event_type", "occurred_at")

RESERVED_ID = ("reserved_id", "The nil and the max UUID identify no event. Make a new UUID for each event.")
"""Code and message."""


class EventFault(msgspec.Struct, frozen=True):
    """One thing that is wrong with an event. `field` is None where no single field is."""

    code: str
    field: str | None
    message: str


class ItemProblem(msgspec.Struct, frozen=True):
    """Why one item of a request is not accepted, as the response names it: by its first fault, and all others.

    `index` counts the items of the request from 0; `event_id` is None where none could be read.
    `retryable`: the event is valid, send it again under the same id.
    """

    index: int
    event_id: str | None
    code: str
    field: str | None
    message: str
    retryable: bool = False
    other_faults: list[EventFault] | msgspec.UnsetType = msgspec.UNSET


class FaultyEvent(ItemProblem, frozen=True):
    """An event of which some fields are right; what the cluster knows of these is still to be checked.

    `readable`: the values of the right fields, as an `Event` has them; a faulty one is absent.
    """

    readable: dict[str, Any] = {}


class _Reason(NamedTuple):
    code: str
    message: str


def list_faults(problem: ItemProblem) -> list[EventFault]:
    others = problem.other_faults
    first = EventFault(problem.code, problem.field, problem.message)
    return [first] if isinstance(others, msgspec.UnsetType) else [first, *others]


def build_problem(index: int, event_id: str | None, faults: list[EventFault]) -> ItemProblem:
    """`faults`: at least one."""
    first, *others = faults
    return ItemProblem(index, event_id, first.code, first.field, first.message, other_faults=others or msgspec.UNSET)


def explain(item: object, *, index: int, more: list[EventFault]) -> ItemProblem:
    """All faults of decoded JSON that is not an `Event`; `more`: what was found before."""
    if not isinstance(item, dict):
        return ItemProblem(index, None, "invalid_type", None, "Expected an object.")
    faults = [EventFault("missing_field", field, f"{field} is required.") for field in _REQUIRED if field not in item]
    readable: dict[str, Any] = {}
    for field, check in _CHECKS.items():
        if field not in item and field in _REQUIRED:
            continue
        value = item.get(field)
        reason = check(value)
        if reason is None:
            readable[field] = _READERS[field](value) if field in _READERS else value
        else:
            faults.append(EventFault(reason.code, field, reason.message))
    first, *others = (*faults, *more) or (EventFault("invalid_event", None, "This is not an event."),)
    return FaultyEvent(
        index,
        find_event_id(item),
        first.code,
        first.field,
        first.message,
        other_faults=others or msgspec.UNSET,
        readable=readable,
    )


def find_event_id(item: Mapping[str, Any]) -> str | None:
    text = item.get("event_id")
    try:
        return str(parse_event_id(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def _check_event_id(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected a UUID as text.")
    try:
        number = parse_event_id(value).int
    except ValueError:
        return _Reason("invalid_id", "Expected a UUID, for example 0190163d-8694-739b-aea5-966c26f8ad91.")
    return _Reason(*RESERVED_ID) if number in (NIL, MAX) else None


def _check_video_id(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected text.")
    length = max(len(value), len(normalize_id(value)))
    if length > VIDEO_ID_MAX_CHARACTERS:
        return _Reason("too_long", f"Has {length} characters; the limit is {VIDEO_ID_MAX_CHARACTERS}.")
    if not _VIDEO_ID.search(value):
        return _Reason(
            "invalid_id", "Expected visible characters without white space and without '/'; neither '.' nor '..'."
        )
    return None


def _check_event_type(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", "Expected text.")
    if len(value) > EVENT_TYPE_MAX_CHARACTERS:
        return _Reason("too_long", f"Has {len(value)} characters; the limit is {EVENT_TYPE_MAX_CHARACTERS}.")
    return None


def _check_occurred_at(value: object) -> _Reason | None:
    if not isinstance(value, str):
        return _Reason("invalid_type", _explain_number_as_time(value))
    try:
        parse_time(value)
    except NotATime as error:
        if error.lacks_offset:
            return _Reason("missing_offset", f"The time needs an offset from UTC, for example {error.nearest}.")
        meant = f": write {error.nearest}" if error.nearest else ", for example 2026-01-31T12:00:00Z"
        return _Reason("invalid_time", f"Expected an RFC 3339 time{meant}.")
    return None


def _explain_number_as_time(value: object) -> str:
    """A number may be seconds or milliseconds since 1970."""
    try:
        parse_time(str(value) if type(value) is int else "")
    except NotATime as error:
        return f"Expected a time as text{f': write {error.nearest}' if error.nearest else ''}."
    return "Expected a time as text."


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
_READERS: dict[str, Callable[[Any], Any]] = {"event_id": parse_event_id, "occurred_at": parse_time}

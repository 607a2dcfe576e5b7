"""Decodes a request body to events: the whole batch at once or, if anything in it is wrong, item by item.

An item that is not an event is decoded once more, into Python objects, to say why. That decoder accepts more than JSON
allows (NaN, raw control characters, bytes that are not UTF-8), because clients send it: one such value then refuses its
own event instead of the whole batch. It costs tens of times the typed decoder, on the event loop, so the number of
values that one request may have decoded like this is bounded.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from viewcounter.events.event_id import MAX, NIL, parse_event_id
from viewcounter.events.message import (
    EVENT_TYPE_MAX_CHARACTERS,
    VALUE_MAX,
    VIDEO_ID_MAX_CHARACTERS,
    VIDEO_ID_PATTERN,
    VIEWER_ID_MAX_CHARACTERS,
    VIEWER_ID_PATTERN,
    Event,
    EventType,
    Value,
    VideoId,
    ViewerId,
)
from viewcounter.events.times import NotATime, parse_time
from viewcounter.ingest.envelopes import (
    ENVELOPE_KEYS,
    LIST_IN_EVENT,
    UTF_16_MARKS,
    find_items,
    has_envelope_key,
    holds_list,
    split_items,
    starts_with_line,
)

_VIDEO_ID = re.compile(VIDEO_ID_PATTERN)
_VIEWER_ID = re.compile(VIEWER_ID_PATTERN)


class ItemProblem(msgspec.Struct, frozen=True):
    """Why one item of a request is not accepted, as the response names it.

    `index` counts the items of the request from 0; `event_id` is None where none could be read.
    `retryable`: the event is valid, send it again under the same id.
    """

    index: int
    event_id: str | None
    code: str
    field: str | None
    message: str
    retryable: bool = False


Item = Event | ItemProblem


class _StrictEvent(Event, forbid_unknown_fields=True, frozen=True, gc=False):
    """An event without other fields; those are looked at one by one, see `_parse_piece`."""


class _LooseEvent(msgspec.Struct, frozen=True, gc=False):
    """An event whose id and time may be spelled in ways that msgspec does not read as we do, see `_mend`."""

    event_id: str
    video_id: VideoId
    event_type: EventType
    occurred_at: str
    value: Value | None = None
    viewer_id: ViewerId | None = None


_EVENT = msgspec.json.Decoder(Event)
_EVENTS = msgspec.json.Decoder(list[Event])
_LOOSE_EVENT = msgspec.json.Decoder(_LooseEvent)
_STRICT_EVENT = msgspec.json.Decoder(_StrictEvent)
_STRICT_EVENTS = msgspec.json.Decoder(list[_StrictEvent])
_RAW = msgspec.json.Decoder(msgspec.Raw)
_ENVELOPE_START = re.compile(rb'\s*\{\s*"(?:events|batch)"\s*:')
# msgspec rounds what is beyond microseconds. Wherever such a number stands: it only chooses the slower way.
_LONG_FRACTION = re.compile(rb"\.\d{7}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EVENT_FIELDS = Event.__struct_fields__
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LONGEST_EXACT_INTEGER = 20


class _ValueBudget:
    """The number of values of one request that may still be decoded into Python objects."""

    def __init__(self, max_values: int) -> None:
        self.max_values = max_values
        self._left = max_values

    def take(self, text: bytes) -> bool:
        """Whether `text` may be decoded. Each of its values and keys but the first follows one of these bytes."""
        self._left -= 1 + text.count(b"{") + text.count(b"[") + text.count(b",") + text.count(b":")
        return self._left >= 0


def parse_items(body: bytes, *, is_ndjson: bool, max_events: int, explain_max_values: int) -> Sequence[Item]:
    """One entry for each item of the request, in order. Raises Rejected (400, 413, 422)."""
    budget = _ValueBudget(explain_max_values)
    body = body.removeprefix(_BYTE_ORDER_MARK)
    items = _parse_lines(body, max_events, budget) if is_ndjson else _parse_json(body, max_events, budget)
    if not items:
        raise Rejected(Problem(status=422, code="empty_batch", detail="The request holds no event."))
    return items


def _parse_json(body: bytes, max_events: int, budget: _ValueBudget) -> Sequence[Item]:
    if _LONG_FRACTION.search(body):
        return _parse_json_by_item(body, max_events, budget)
    try:
        events = _decode_typed(body)
    except _DECODE_ERRORS:
        return _parse_json_by_item(body, max_events, budget)
    _check_count(len(events), max_events)
    return events


def _parse_json_by_item(body: bytes, max_events: int, budget: _ValueBudget) -> list[Item]:
    try:
        pieces = split_items(body)
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except _DECODE_ERRORS as error:
        if starts_with_line(body):
            return _parse_lines(body, max_events, budget)
        if body.startswith(UTF_16_MARKS):
            raise _malformed("The body is UTF-16. Send UTF-8.") from error
        if not budget.take(body):
            detail = f"Not JSON: {error}. The request has more than {budget.max_values} values: no event was checked."
            raise _malformed(detail) from error
        decoded = find_items(_decode_tolerant(body))
        _check_count(len(decoded), max_events)
        return [_convert(item, index) for index, item in enumerate(decoded)]
    _check_count(len(pieces), max_events)
    return [_parse_piece(piece, index, budget) for index, piece in enumerate(pieces)]


def _parse_lines(body: bytes, max_events: int, budget: _ValueBudget) -> list[Item]:
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    _check_count(len(lines), max_events)
    # Files that were put behind one another each bring their byte order mark.
    return [_parse_piece(line.removeprefix(_BYTE_ORDER_MARK), index, budget) for index, line in enumerate(lines)]


def _parse_piece(piece: bytes | msgspec.Raw, index: int, budget: _ValueBudget) -> Item:
    if not _LONG_FRACTION.search(piece):
        try:
            return _STRICT_EVENT.decode(piece)
        except _DECODE_ERRORS:
            pass  # it has other fields or spellings, or the tolerant decoder below finds out what is wrong
        try:
            return _refuse_list(_EVENT.decode(piece), piece, index)
        except _DECODE_ERRORS:
            pass
    try:
        return _refuse_list(_mend(_LOOSE_EVENT.decode(piece)), piece, index)
    except (*_DECODE_ERRORS, ValueError):
        pass
    text = bytes(piece)
    try:
        if not budget.take(text):
            return _refuse_unexplained(text, index, budget)
        decoded = _decode_tolerant(text)
    except Rejected as refusal:
        return ItemProblem(index, None, refusal.problem.code, None, refusal.problem.detail)
    return _convert(decoded, index)


def _refuse_list(event: Event, piece: bytes | msgspec.Raw, index: int) -> Item:
    return ItemProblem(index, str(event.event_id), *LIST_IN_EVENT) if holds_list(piece) else event


def _mend(event: _LooseEvent) -> Event:
    """Raises ValueError."""
    return Event(
        parse_event_id(event.event_id),
        event.video_id,
        event.event_type,
        parse_time(event.occurred_at),
        event.value,
        event.viewer_id,
    )


def _refuse_unexplained(text: bytes, index: int, budget: _ValueBudget) -> ItemProblem:
    """A problem that names no field, for items past the budget of values. Raises Rejected."""
    try:
        _RAW.decode(text)
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except _DECODE_ERRORS as error:
        raise _malformed(f"Not JSON: {error}.") from error
    message = f"Not an event. The faulty events have more than {budget.max_values} values: no field is named."
    return ItemProblem(index, None, "invalid_event", None, message)


def _decode_typed(body: bytes) -> Sequence[Event]:
    """The quick way, for bodies without anything unusual. Raises _DECODE_ERRORS for all others."""
    if body[:1] == b"[":
        return _decode_list(body)
    envelope = _ENVELOPE_START.match(body)
    if envelope is None:
        return [_STRICT_EVENT.decode(body)]
    # The value of the first key up to the last brace is one list only if there is no second key.
    end = body.rfind(b"}")
    if body[end + 1 :].strip():
        raise msgspec.DecodeError("something follows the object")
    return _decode_list(memoryview(body)[envelope.end() : end])


def _decode_list(text: bytes | memoryview) -> Sequence[Event]:
    try:
        return _STRICT_EVENTS.decode(text)
    except msgspec.ValidationError:
        if has_envelope_key(bytes(text)):
            raise
    return _EVENTS.decode(text)  # some have other fields


def _decode_tolerant(body: bytes) -> object:
    """Raises Rejected (400). Bytes that are not UTF-8 become lone surrogates, which no field of an event admits."""
    try:
        return TOLERANT_DECODER.decode(body.decode("utf-8", "surrogateescape"))
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except ValueError as error:
        raise _malformed(f"Not JSON: {error}.") from error


def _parse_integer(digits: str) -> int | float:
    """Longer integers become floats: every limit is far below, and Python refuses integers of thousands of digits."""
    return int(digits) if len(digits) <= _LONGEST_EXACT_INTEGER else float(digits)


TOLERANT_DECODER = json.JSONDecoder(strict=False, parse_int=_parse_integer)


def _malformed(detail: str) -> Rejected:
    return Rejected(Problem(status=400, code="malformed_json", detail=detail))


def _nested_too_deeply() -> Rejected:
    return Rejected(Problem(status=400, code="nested_too_deeply", detail="The JSON is nested too deeply."))


def _convert(item: object, index: int) -> Item:
    if isinstance(item, dict):
        # Only the fields of an event: a malformed value under another key must not refuse it.
        if any(isinstance(item.get(name), list) for name in ENVELOPE_KEYS):
            return ItemProblem(index, _find_event_id(item), *LIST_IN_EVENT)
        known = {field: item[field] for field in _EVENT_FIELDS if field in item}
        try:
            return _mend(msgspec.convert(known, _LooseEvent))
        except ValueError:  # also of msgspec and of text that no event can hold
            pass  # `_explain` checks each field by itself
    return _explain(item, index=index)


def _check_count(count: int, max_events: int) -> None:
    if count > max_events:
        detail = f"The request has {count} events; the limit is {max_events} events."
        raise Rejected(Problem(status=413, code="too_many_events", detail=detail))


RESERVED_ID = ("reserved_id", "The nil and the max UUID identify no event. Make a new UUID for each event.")
"""Code and message."""


class _Reason(NamedTuple):
    code: str
    message: str


def _explain(item: object, *, index: int) -> ItemProblem:
    """Code, field and limit of the first fault of decoded JSON that is not an `Event`.

    Client text is never repeated: it may hold characters that no response can (lone surrogates).
    """
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
    if len(value) > VIDEO_ID_MAX_CHARACTERS:
        return _Reason("too_long", f"Has {len(value)} characters; the limit is {VIDEO_ID_MAX_CHARACTERS}.")
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

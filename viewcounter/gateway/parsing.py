"""From bytes to events: the whole batch typed at once, or, if anything is wrong with it, item by item.

The second way reads more than JSON allows (NaN, raw control characters, bytes that are not UTF-8), because
clients send it: one such value then refuses its own event instead of the whole batch.
"""

import json
import re
from collections.abc import Sequence

import msgspec

from viewcounter.events.message import Event
from viewcounter.gateway.errors import Refused
from viewcounter.gateway.explanation import explain_item
from viewcounter.gateway.items import ItemProblem
from viewcounter.problems import Problem

Item = Event | ItemProblem


class _Envelope(msgspec.Struct):
    events: list[Event]


_EVENT = msgspec.json.Decoder(Event)
_EVENTS = msgspec.json.Decoder(list[Event])
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ENVELOPE_START = re.compile(rb'\s*\{\s*"events"\s*:')
_EVENT_FIELDS = Event.__struct_fields__
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LONGEST_EXACT_INTEGER = 20


def parse_items(body: bytes, *, is_ndjson: bool, max_events: int) -> Sequence[Item]:
    """One entry for each event of the request, in order. Raises Refused (400, 413, 422)."""
    items = _parse_lines(body, max_events) if is_ndjson else _parse_json(body, max_events)
    if not items:
        raise Refused(Problem(status=422, code="empty_batch", detail="The request holds no event."))
    return items


def _parse_json(body: bytes, max_events: int) -> Sequence[Item]:
    try:
        events = _decode_typed(body)
    except _DECODE_ERRORS:
        raw = _find_raw_items(_decode_tolerant(body))
        _check_count(len(raw), max_events)
        return [_convert(item, index) for index, item in enumerate(raw)]
    _check_count(len(events), max_events)
    return events


def _parse_lines(body: bytes, max_events: int) -> list[Item]:
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    _check_count(len(lines), max_events)
    return [_parse_line(line, index) for index, line in enumerate(lines)]


def _parse_line(line: bytes, index: int) -> Item:
    try:
        return _EVENT.decode(line)
    except _DECODE_ERRORS:
        pass  # the slow way says what is wrong
    try:
        raw = _decode_tolerant(line)
    except Refused as refusal:
        return ItemProblem(index, None, refusal.problem.code, None, refusal.problem.detail)
    return _convert(raw, index)


def _decode_typed(body: bytes) -> list[Event]:
    if body[:1] == b"[":
        return _EVENTS.decode(body)
    if _ENVELOPE_START.match(body):
        return _ENVELOPE.decode(body).events
    return [_EVENT.decode(body)]


def _decode_tolerant(body: bytes) -> object:
    """Raises Refused (400). What was not UTF-8 becomes lone surrogates, which no field of an event admits."""
    try:
        return _TOLERANT.decode(body.decode("utf-8", "surrogateescape"))
    except RecursionError as error:
        raise Refused(Problem(status=400, code="nested_too_deeply", detail="The JSON is nested too deeply.")) from error
    except ValueError as error:
        raise Refused(Problem(status=400, code="malformed_json", detail=f"Not JSON: {error}.")) from error


def _parse_integer(digits: str) -> int | float:
    """No number that matters is longer, and Python refuses to parse integers of thousands of digits."""
    return int(digits) if len(digits) <= _LONGEST_EXACT_INTEGER else float(digits)


_TOLERANT = json.JSONDecoder(strict=False, parse_int=_parse_integer)


def _find_raw_items(decoded: object) -> list[object]:
    if isinstance(decoded, dict):
        decoded = decoded.get("events", [decoded])
    if not isinstance(decoded, list):
        detail = 'Expected an event, an array of events or {"events": […]}.'
        raise Refused(Problem(status=422, code="invalid_shape", detail=detail))
    return decoded


def _convert(item: object, index: int) -> Item:
    if isinstance(item, dict):
        # Only what an event has: a strange key elsewhere must not refuse it.
        known = {field: item[field] for field in _EVENT_FIELDS if field in item}
        try:
            return msgspec.convert(known, Event)
        except (msgspec.ValidationError, UnicodeEncodeError):
            pass  # the explanation looks at each field by itself
    return explain_item(item, index=index)


def _check_count(count: int, max_events: int) -> None:
    if count > max_events:
        detail = f"The request has {count} events; the limit is {max_events} events."
        raise Refused(Problem(status=413, code="too_many_events", detail=detail))

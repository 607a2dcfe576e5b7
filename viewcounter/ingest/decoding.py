"""From bytes to events: the whole batch typed at once, or, if anything is wrong with it, item by item.

An item that is no event is decoded once more, into Python objects, to say what is wrong with it. That decoder reads
more than JSON allows (NaN, raw control characters, bytes that are not UTF-8), because clients send it: one such value
then refuses its own event instead of the whole batch. It costs tens of times what skipping costs, on the event loop, so
the values that one request may have decoded in this way are bounded.
"""

import json
import re
from collections.abc import Sequence

import msgspec

from runtime.http.problems import Problem
from viewcounter.events.message import Event
from viewcounter.ingest.errors import Refused
from viewcounter.ingest.explanation import explain_item
from viewcounter.ingest.items import ItemProblem

Item = Event | ItemProblem


class _Envelope(msgspec.Struct):
    events: list[Event]


class _RawEnvelope(msgspec.Struct):
    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_EVENT = msgspec.json.Decoder(Event)
_EVENTS = msgspec.json.Decoder(list[Event])
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_RAW = msgspec.json.Decoder(msgspec.Raw)
_RAW_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_ENVELOPE = msgspec.json.Decoder(_RawEnvelope)
_OBJECT_START = re.compile(rb"\s*\{")
_ENVELOPE_START = re.compile(rb'\s*\{\s*"events"\s*:')
_EVENT_FIELDS = Event.__struct_fields__
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LONGEST_EXACT_INTEGER = 20


class _ValueBudget:
    """How many values of one request may still be decoded into Python objects."""

    def __init__(self, max_values: int) -> None:
        self.max_values = max_values
        self._left = max_values

    def take(self, text: bytes) -> bool:
        """Whether `text` may be decoded. Each of its values and keys but the first stands behind one of these bytes."""
        self._left -= 1 + text.count(b"{") + text.count(b"[") + text.count(b",") + text.count(b":")
        return self._left >= 0


def parse_items(body: bytes, *, is_ndjson: bool, max_events: int, explain_max_values: int) -> Sequence[Item]:
    """One entry for each event of the request, in order. Raises Refused (400, 413, 422)."""
    budget = _ValueBudget(explain_max_values)
    items = _parse_lines(body, max_events, budget) if is_ndjson else _parse_json(body, max_events, budget)
    if not items:
        raise Refused(Problem(status=422, code="empty_batch", detail="The request holds no event."))
    return items


def _parse_json(body: bytes, max_events: int, budget: _ValueBudget) -> Sequence[Item]:
    try:
        events = _decode_typed(body)
    except _DECODE_ERRORS:
        return _parse_json_by_item(body, max_events, budget)
    _check_count(len(events), max_events)
    return events


def _parse_json_by_item(body: bytes, max_events: int, budget: _ValueBudget) -> list[Item]:
    try:
        pieces = _split(body)
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except _DECODE_ERRORS as error:
        if not budget.take(body):
            detail = f"Not JSON: {error}. The request has more than {budget.max_values} values: no event was looked at."
            raise _malformed(detail) from error
        decoded = _find_items(_decode_tolerant(body))
        _check_count(len(decoded), max_events)
        return [_convert(item, index) for index, item in enumerate(decoded)]
    _check_count(len(pieces), max_events)
    return [_parse_piece(piece, index, budget) for index, piece in enumerate(pieces)]


def _split(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The events of the request, each as it came: nothing in them becomes an object. Raises _DECODE_ERRORS."""
    if not _OBJECT_START.match(body):
        return _RAW_ITEMS.decode(body)
    events = _RAW_ENVELOPE.decode(body).events
    return [body] if events is msgspec.UNSET else _RAW_ITEMS.decode(events)


def _parse_lines(body: bytes, max_events: int, budget: _ValueBudget) -> list[Item]:
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    _check_count(len(lines), max_events)
    return [_parse_piece(line, index, budget) for index, line in enumerate(lines)]


def _parse_piece(piece: bytes | msgspec.Raw, index: int, budget: _ValueBudget) -> Item:
    try:
        return _EVENT.decode(piece)
    except _DECODE_ERRORS:
        pass  # the slow way says what is wrong
    text = bytes(piece)
    try:
        if not budget.take(text):
            return _refuse_unexplained(text, index, budget)
        decoded = _decode_tolerant(text)
    except Refused as refusal:
        return ItemProblem(index, None, refusal.problem.code, None, refusal.problem.detail)
    return _convert(decoded, index)


def _refuse_unexplained(text: bytes, index: int, budget: _ValueBudget) -> ItemProblem:
    """What skipping its values can tell. Raises Refused."""
    try:
        _RAW.decode(text)
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except _DECODE_ERRORS as error:
        raise _malformed(f"Not JSON: {error}.") from error
    message = f"Not an event. The faulty events have more than {budget.max_values} values: no field is named."
    return ItemProblem(index, None, "invalid_event", None, message)


def _decode_typed(body: bytes) -> list[Event]:
    if body[:1] == b"[":
        return _EVENTS.decode(body)
    if _ENVELOPE_START.match(body):
        return _ENVELOPE.decode(body).events
    return [_EVENT.decode(body)]


def _decode_tolerant(body: bytes) -> object:
    """Raises Refused (400). What was not UTF-8 becomes lone surrogates, which no field of an event admits."""
    try:
        return TOLERANT_DECODER.decode(body.decode("utf-8", "surrogateescape"))
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except ValueError as error:
        raise _malformed(f"Not JSON: {error}.") from error


def _parse_integer(digits: str) -> int | float:
    """No number that matters is longer, and Python refuses to parse integers of thousands of digits."""
    return int(digits) if len(digits) <= _LONGEST_EXACT_INTEGER else float(digits)


TOLERANT_DECODER = json.JSONDecoder(strict=False, parse_int=_parse_integer)


def _malformed(detail: str) -> Refused:
    return Refused(Problem(status=400, code="malformed_json", detail=detail))


def _nested_too_deeply() -> Refused:
    return Refused(Problem(status=400, code="nested_too_deeply", detail="The JSON is nested too deeply."))


def _find_items(decoded: object) -> list[object]:
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

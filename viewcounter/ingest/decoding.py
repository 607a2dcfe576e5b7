"""Decodes a request body to events: the whole batch at once or, if anything in it is wrong, item by item.

An item that is not an event is decoded once more, into Python objects, to say why. That decoder accepts more than JSON
allows (NaN, raw control characters, bytes that are not UTF-8), because clients send it: one such value then refuses its
own event instead of the whole batch. It costs tens of times the typed decoder, on the event loop, so the number of
values that one request may have decoded like this is bounded.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from viewcounter.events.event_id import parse_event_id
from viewcounter.events.message import (
    VIDEO_ID_MAX_CHARACTERS,
    Event,
    EventType,
    Value,
    VideoId,
    ViewerId,
    are_canonical,
    normalize_id,
)
from viewcounter.events.times import parse_time
from viewcounter.ingest.envelopes import (
    ENVELOPE_KEYS,
    LIST_IN_EVENT,
    UTF_16_MARKS,
    find_items,
    has_envelope_key,
    has_list,
    split_items,
    starts_with_line,
)
from viewcounter.ingest.faults import EventFault, FaultyEvent, ItemProblem, explain, find_event_id
from viewcounter.ingest.unknown_fields import EVENT_FIELDS, UnknownFields

Item = Event | ItemProblem


class _StrictEvent(Event, forbid_unknown_fields=True, frozen=True, gc=False):
    """An event without other fields; those are looked at one by one, see `_parse_piece`."""


class _SingleEvent(_StrictEvent, frozen=True, gc=False):
    """Checks its ids by itself, which costs less than `are_canonical` for one event and more for many."""

    video_id: VideoId
    viewer_id: ViewerId | None = None


class _LooseEvent(msgspec.Struct, frozen=True, gc=False):
    """An event whose id and time may be spelled in ways that msgspec does not read as we do, see `_mend`."""

    event_id: str
    video_id: VideoId
    event_type: EventType
    occurred_at: str
    value: Value | None = None
    viewer_id: ViewerId | None = None


_EVENTS = msgspec.json.Decoder(list[Event])
_LOOSE_EVENT = msgspec.json.Decoder(_LooseEvent)
_SINGLE_EVENT = msgspec.json.Decoder(_SingleEvent)
_STRICT_EVENT = msgspec.json.Decoder(_StrictEvent)
_STRICT_EVENTS = msgspec.json.Decoder(list[_StrictEvent])
_RAW = msgspec.json.Decoder(msgspec.Raw)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELDS_OF_EVENTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ENVELOPE_START = re.compile(rb'\s*\{\s*"(?:events|batch)"\s*:')
# msgspec rounds what is beyond microseconds. Wherever such a number stands: it only chooses the slower way.
_LONG_FRACTION = re.compile(rb"\.\d{7}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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


def parse_items(
    body: bytes, *, is_ndjson: bool, max_events: int, explain_max_values: int, unknown: UnknownFields | None = None
) -> Sequence[Item]:
    """One entry for each item of the request, in order. Raises Rejected (400, 413, 422).

    `unknown`: is told the fields that no event has, and says whether they are refused.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    items: Sequence[Item] | None = None
    if not _LONG_FRACTION.search(body):
        with suppress(*_DECODE_ERRORS):  # something in it is wrong or unusual
            items = _decode_lines(body) if is_ndjson else _decode_strict(body)
    if items is None:
        parser = _Parser(max_events, explain_max_values, UnknownFields() if unknown is None else unknown)
        items = parser.parse_lines(body) if is_ndjson else parser.parse_json(body)
    if not items:
        raise Rejected(Problem(status=422, code="empty_batch", detail="The request holds no event."))
    _check_count(len(items), max_events)
    return items


def _decode_strict(body: bytes) -> Sequence[Event] | None:
    """The quick way, for bodies without anything unusual. None, or raises _DECODE_ERRORS, for all others."""
    text = _find_list(body)
    if text is None:
        event = _SINGLE_EVENT.decode(body)
        return [event] if normalize_id(event.video_id) == event.video_id else None
    events = _STRICT_EVENTS.decode(text)
    return events if are_canonical(events) else None


def _decode_lines(body: bytes) -> Sequence[Event] | None:
    events = _STRICT_EVENT.decode_lines(body)
    is_one_a_line = len(events) == sum(1 for line in body.split(b"\n") if line and not line.isspace())
    return events if is_one_a_line and are_canonical(events) else None


def _find_list(body: bytes) -> bytes | memoryview | None:
    """The only list of events, as far as one look can tell; what it returns may be no list. None: not found."""
    if body[:1] == b"[":
        return body
    envelope = _ENVELOPE_START.match(body)
    if envelope is None:
        return None
    # The value of the first key up to the last brace is one list only if there is no second key.
    end = body.rfind(b"}")
    return None if body[end + 1 :].strip() else memoryview(body)[envelope.end() : end]


class _Parser:
    """Of one request that is not strictly a list of events, or one event.

    Naming unknown fields has a budget of its own, so that it takes nothing from the explanations of faults.
    """

    def __init__(self, max_events: int, explain_max_values: int, unknown: UnknownFields) -> None:
        self._max_events = max_events
        self._budget = _ValueBudget(explain_max_values)
        self._budget_of_names = _ValueBudget(explain_max_values)
        self._unknown = unknown

    def parse_json(self, body: bytes) -> Sequence[Item]:
        text = _find_list(body)
        if text is not None and not self._unknown.are_refused and not _LONG_FRACTION.search(body):
            try:
                events = self._decode_with_other_fields(text)
            except _DECODE_ERRORS:
                pass
            else:
                if events is not None:
                    return events
        return self._parse_json_by_item(body)

    def parse_lines(self, body: bytes) -> Sequence[Item]:
        lines = [line for line in body.split(b"\n") if line and not line.isspace()]
        _check_count(len(lines), self._max_events)
        # Files that were put behind one another each bring their byte order mark.
        return [self._parse_piece(line.removeprefix(_BYTE_ORDER_MARK), index) for index, line in enumerate(lines)]

    def _decode_with_other_fields(self, text: bytes | memoryview) -> Sequence[Event] | None:
        if has_envelope_key(bytes(text)):
            return None
        events = _EVENTS.decode(text)
        _check_count(len(events), self._max_events)
        if not are_canonical(events):
            return None
        if self._budget_of_names.take(bytes(text)):
            self._unknown.note(set().union(*_FIELDS_OF_EVENTS.decode(text)) - EVENT_FIELDS)
        return events

    def _parse_json_by_item(self, body: bytes) -> Sequence[Item]:
        try:
            pieces = split_items(body, self._unknown)
        except RecursionError as error:
            raise _nested_too_deeply() from error
        except _DECODE_ERRORS as error:
            if starts_with_line(body):
                return self.parse_lines(body)
            if body.startswith(UTF_16_MARKS):
                raise _malformed("The body is UTF-16. Send UTF-8.") from error
            if not self._budget.take(body):
                most = self._budget.max_values
                detail = f"Not JSON: {error}. The request has more than {most} values: no event was checked."
                raise _malformed(detail) from error
            decoded = find_items(_decode_tolerant(body), self._unknown)
            _check_count(len(decoded), self._max_events)
            return [self._convert(item, index) for index, item in enumerate(decoded)]
        _check_count(len(pieces), self._max_events)
        return [self._parse_piece(piece, index) for index, piece in enumerate(pieces)]

    def _parse_piece(self, piece: bytes | msgspec.Raw, index: int) -> Item:
        if not _LONG_FRACTION.search(piece):
            try:
                event: Event = _SINGLE_EVENT.decode(piece)
            except _DECODE_ERRORS:
                pass  # it has other fields or spellings, or the tolerant decoder below finds out what is wrong
            else:
                if normalize_id(event.video_id) == event.video_id:
                    return event
        try:
            event = _mend(_LOOSE_EVENT.decode(piece))
        except (*_DECODE_ERRORS, ValueError):
            return self._explain_piece(bytes(piece), index)
        return self._look_at_fields(event, piece, index)

    def _look_at_fields(self, event: Event, piece: bytes | msgspec.Raw, index: int) -> Item:
        """The event, unless it has fields for which it is refused."""
        if not has_envelope_key(bytes(piece)) and not self._budget_of_names.take(bytes(piece)):
            return self._unknown.refuse_unnamed(event, index)
        fields = _FIELDS.decode(piece)
        if has_list(fields):
            return ItemProblem(index, str(event.event_id), *LIST_IN_EVENT)
        faults = self._unknown.note(fields.keys() - EVENT_FIELDS)
        return _build_faulty(event, index, faults) if faults else event

    def _explain_piece(self, text: bytes, index: int) -> ItemProblem | Event:
        try:
            if not self._budget.take(text):
                return _refuse_unexplained(text, index, self._budget)
            decoded = _decode_tolerant(text)
        except Rejected as refusal:
            return ItemProblem(index, None, refusal.problem.code, None, refusal.problem.detail)
        return self._convert(decoded, index)

    def _convert(self, item: object, index: int) -> Item:
        """Of what only the tolerant decoder could read."""
        faults: list[EventFault] = []
        if isinstance(item, dict):
            if any(isinstance(item.get(name), list) for name in ENVELOPE_KEYS):
                return ItemProblem(index, find_event_id(item), *LIST_IN_EVENT)
            faults = self._unknown.note(item.keys() - EVENT_FIELDS)
            # Only the fields of an event: a malformed value under another key must not refuse it.
            known = {field: item[field] for field in item if field in EVENT_FIELDS}
            try:
                event = _mend(msgspec.convert(known, _LooseEvent))
            except ValueError:  # also of msgspec and of text that no event can hold
                pass  # `explain` checks each field by itself
            else:
                return _build_faulty(event, index, faults) if faults else event
        return explain(item, index=index, more=faults)


def _build_faulty(event: Event, index: int, faults: list[EventFault]) -> FaultyEvent:
    first, *others = faults
    return FaultyEvent(
        index,
        str(event.event_id),
        first.code,
        first.field,
        first.message,
        other_faults=others or msgspec.UNSET,
        readable=msgspec.structs.asdict(event),
    )


def _mend(event: _LooseEvent) -> Event:
    """Raises ValueError."""
    video_id = normalize_id(event.video_id)
    if len(video_id) > VIDEO_ID_MAX_CHARACTERS:
        raise ValueError("too long in normal form C")
    return Event(
        parse_event_id(event.event_id),
        video_id,
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


def _check_count(count: int, max_events: int) -> None:
    if count > max_events:
        detail = f"The request has {count} events; the limit is {max_events} events."
        raise Rejected(Problem(status=413, code="too_many_events", detail=detail))

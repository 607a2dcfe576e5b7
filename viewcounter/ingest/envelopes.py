"""Finds the items of a JSON body: one event, an array, or an envelope {"events": […]} or {"batch": […]}.

Invariant: a list of events in the body is either read whole or refused. Two envelopes, a repeated key and a list inside
an event are refused, because a JSON decoder keeps one of them and drops the other.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from viewcounter.ingest.unknown_fields import EVENT_FIELDS, UnknownFields

ENVELOPE_KEYS = ("events", "batch")
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
LIST_IN_EVENT = (
    "list_in_event",
    None,
    "The event holds a list of events, which would not be counted. Send the list on its own.",
)
"""Code, field and message of an item."""

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# In JSON, a quote inside a string is escaped: this finds keys only, at any depth.
_ENVELOPE_KEY = re.compile(rb'"(?:events|batch)"\s*:')
_OBJECT_START = re.compile(rb"\s*\{")
_RAW = msgspec.json.Decoder(msgspec.Raw)
_RAW_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def split_items(body: bytes, unknown: UnknownFields) -> Sequence[bytes | msgspec.Raw]:
    """The undecoded bytes of each item. Raises Rejected (422), and what msgspec raises for anything but JSON.

    `unknown` is told the fields beside a list of events.
    """
    if not _OBJECT_START.match(body):
        return _RAW_ITEMS.decode(body)
    if not has_envelope_key(body):
        return [_RAW.decode(body)]
    fields = _RAW_FIELDS.decode(body)
    keys = [key for key in ENVELOPE_KEYS if key in fields]
    if not keys or (EVENT_FIELDS & fields.keys() and not any(_is_list(fields[key]) for key in keys)):
        return [body]
    if len(keys) > 1:
        raise _refuse("two_envelopes", "The request has both `events` and `batch`. Send one of them.")
    inner_count = sum(len(_ENVELOPE_KEY.findall(value)) for value in fields.values())
    if len(_ENVELOPE_KEY.findall(body)) - inner_count > 1:
        raise _refuse("repeated_key", f"The key `{keys[0]}` occurs more than once. Send one list of all events.")
    if EVENT_FIELDS & fields.keys():
        detail = f"The request has `{keys[0]}` beside the fields of an event. Send the event within the list."
        raise _refuse("list_in_event", detail)
    _note(fields.keys() - {keys[0]}, unknown)
    return _RAW_ITEMS.decode(fields[keys[0]])


def find_items(decoded: object, unknown: UnknownFields) -> list[object]:
    """The items of a body that only the tolerant decoder could read. Raises Rejected (422)."""
    if isinstance(decoded, dict):
        key = next((key for key in ENVELOPE_KEYS if key in decoded and not EVENT_FIELDS & decoded.keys()), None)
        if key is not None:
            _note(decoded.keys() - {key}, unknown)
        decoded = [decoded] if key is None else decoded[key]
    if not isinstance(decoded, list):
        raise _refuse("invalid_shape", 'Expected an event, an array of events or {"events": […]}.')
    return decoded


def starts_with_line(body: bytes) -> bool:
    """Whether it is NDJSON under the name of JSON: an object that fills the first line, and more lines."""
    first, _, rest = body.lstrip().partition(b"\n")
    if first[:1] != b"{" or not rest or rest.isspace():
        return False
    try:
        _RAW.decode(first)
    except _DECODE_ERRORS:
        return False
    return True


def has_envelope_key(text: bytes) -> bool:
    """At any depth. Most texts have neither word, which is found out faster than by the pattern."""
    return (b'"events"' in text or b'"batch"' in text) and _ENVELOPE_KEY.search(text) is not None


def has_list(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether an event has a list of events among its fields."""
    return any(key in fields and _is_list(fields[key]) for key in ENVELOPE_KEYS)


def _note(names: Iterable[str], unknown: UnknownFields) -> None:
    """Raises Rejected (422) if unknown fields are refused."""
    faults = unknown.note(names)
    if faults:
        shown = ", ".join(f"`{fault.field}`" for fault in faults)
        detail = f"The request has {shown} beside the list of events. Leave it out, or send without strict."
        raise _refuse("unknown_field", detail)


def _is_list(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"["


def _refuse(code: str, detail: str) -> Rejected:
    return Rejected(Problem(status=422, code=code, detail=detail))

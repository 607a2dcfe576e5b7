"""Any bytes give events, item problems or a typed refusal; a bad event never costs a good one."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.http.errors import Refused
from tests.tiers import scale_examples
from tests.unit.ingest.builders import make_event
from viewcounter.events.message import Event
from viewcounter.ingest import decoding as parsing
from viewcounter.ingest.decoding import Item, parse_items
from viewcounter.ingest.faults import ItemProblem

GOOD = make_event()
RAW_GOOD = json.dumps(GOOD).encode()


def parse(body: bytes, *, is_ndjson: bool = False, explain_max_values: int = 100_000) -> list[Item]:
    return list(parse_items(body, is_ndjson=is_ndjson, max_events=1000, explain_max_values=explain_max_values))


def refusal_of(body: bytes, *, is_ndjson: bool = False) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        parse(body, is_ndjson=is_ndjson)
    return caught.value.problem.status, caught.value.problem.code


def with_field(field: str, raw_value: bytes) -> bytes:
    return json.dumps({**GOOD, field: "@@"}).encode().replace(b'"@@"', raw_value)


@pytest.mark.parametrize(
    ("body", "is_ndjson"),
    [
        (RAW_GOOD, False),
        (b" \r\n\t" + RAW_GOOD + b"\n", False),
        (b"[" + RAW_GOOD + b"]", False),
        (b" [" + RAW_GOOD + b"]", False),
        (b'{"events": [' + RAW_GOOD + b"]}", False),
        (b'{"sent_by": "x", "events": [' + RAW_GOOD + b"]}", False),
        (RAW_GOOD, True),
        (b"\n\r\n  \n" + RAW_GOOD + b"\r\n\n", True),
    ],
)
def test_every_shape_gives_the_same_event(body: bytes, is_ndjson: bool) -> None:
    (event,) = parse(body, is_ndjson=is_ndjson)
    assert isinstance(event, Event)
    assert str(event.event_id) == GOOD["event_id"]
    assert (event.video_id, event.event_type, event.value) == (GOOD["video_id"], "view", None)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"", (400, "malformed_json")),
        (b"not json", (400, "malformed_json")),
        (RAW_GOOD[:-1], (400, "malformed_json")),
        (RAW_GOOD + RAW_GOOD, (400, "malformed_json")),
        (b"\xff\xfe" + RAW_GOOD, (400, "malformed_json")),
        (json.dumps(GOOD).encode("utf-16"), (400, "malformed_json")),
        (b"[" * 100_000, (400, "nested_too_deeply")),
        (b'{"a":' * 100_000, (400, "nested_too_deeply")),
        (RAW_GOOD[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", (400, "nested_too_deeply")),
        (b"[]", (422, "empty_batch")),
        (b'{"events": []}', (422, "empty_batch")),
        (b'{"events": 5}', (422, "invalid_shape")),
        (b'"text"', (422, "invalid_shape")),
        (b"17", (422, "invalid_shape")),
        (b"null", (422, "invalid_shape")),
        (b"[" + b",".join([RAW_GOOD] * 1001) + b"]", (413, "too_many_events")),
        (b"[" + b",".join([b"1"] * 1001) + b"]", (413, "too_many_events")),
    ],
)
def test_body_that_holds_no_events_is_refused_whole(body: bytes, answer: tuple[int, str]) -> None:
    assert refusal_of(body) == answer


def test_refusal_of_too_many_events_names_the_limit_and_the_number_received() -> None:
    with pytest.raises(Refused) as caught:
        parse(b"[" + b",".join([RAW_GOOD] * 1001) + b"]")
    assert caught.value.problem.detail == "The request has 1001 events; the limit is 1000 events."


def test_empty_ndjson_is_an_empty_batch() -> None:
    assert refusal_of(b"\n \n", is_ndjson=True) == (422, "empty_batch")


def test_ndjson_of_1001_lines_is_refused() -> None:
    assert refusal_of(b"\n".join([RAW_GOOD] * 1001), is_ndjson=True) == (413, "too_many_events")


BAD_ITEMS = [
    (b"1", "invalid_type", None),
    (b"null", "invalid_type", None),
    (b"[]", "invalid_type", None),
    (b"{}", "missing_field", "event_id"),
    pytest.param(json.dumps(make_event(event_id=...)).encode(), "missing_field", "event_id", id="no event_id"),
    (json.dumps(make_event(video_id=...)).encode(), "missing_field", "video_id"),
    (json.dumps(make_event(event_type=...)).encode(), "missing_field", "event_type"),
    (json.dumps(make_event(occurred_at=...)).encode(), "missing_field", "occurred_at"),
    (with_field("event_id", b"5"), "invalid_type", "event_id"),
    (with_field("event_id", b"null"), "invalid_type", "event_id"),
    (with_field("event_id", b'"x"'), "invalid_id", "event_id"),
    (with_field("event_id", b'"' + b"a" * 300 + b'"'), "invalid_id", "event_id"),
    (with_field("event_id", rb'"\ud800"'), "invalid_id", "event_id"),
    (with_field("video_id", b"5"), "invalid_type", "video_id"),
    (with_field("video_id", b'""'), "invalid_id", "video_id"),
    (with_field("video_id", b'"' + b"v" * 300 + b'"'), "too_long", "video_id"),
    (with_field("video_id", b'"' + b"v" * 129 + b'"'), "too_long", "video_id"),
    (with_field("video_id", rb'"a\u0000b"'), "invalid_id", "video_id"),
    (with_field("video_id", b'"a\x00b"'), "invalid_id", "video_id"),
    (with_field("video_id", b'"a b"'), "invalid_id", "video_id"),
    (with_field("video_id", b'"a/b"'), "invalid_id", "video_id"),
    (with_field("video_id", rb'"\ud800"'), "invalid_id", "video_id"),
    (with_field("video_id", b'"\xff\xfe"'), "invalid_id", "video_id"),
    (with_field("video_id", b'"\xed\xa0\x80"'), "invalid_id", "video_id"),
    (with_field("event_type", b"7"), "invalid_type", "event_type"),
    (with_field("event_type", b'"' + b"t" * 65 + b'"'), "too_long", "event_type"),
    (with_field("occurred_at", b"1763942400"), "invalid_type", "occurred_at"),
    (with_field("occurred_at", b'"yesterday"'), "invalid_time", "occurred_at"),
    (with_field("occurred_at", b'"2026-11-24"'), "missing_offset", "occurred_at"),
    (with_field("occurred_at", b'"2026-02-30T00:00:00Z"'), "invalid_time", "occurred_at"),
    (with_field("occurred_at", b'"2026-11-24T00:00:00+25:00"'), "invalid_time", "occurred_at"),
    (with_field("occurred_at", rb'"\udfff"'), "invalid_time", "occurred_at"),
    (with_field("occurred_at", b'"2026-11-24T00:00:00"'), "missing_offset", "occurred_at"),
    (with_field("value", b'"5"'), "invalid_type", "value"),
    (with_field("value", b"true"), "invalid_type", "value"),
    (with_field("value", b"[]"), "invalid_type", "value"),
    (with_field("value", b"NaN"), "out_of_range", "value"),
    (with_field("value", b"Infinity"), "out_of_range", "value"),
    (with_field("value", b"-Infinity"), "out_of_range", "value"),
    (with_field("value", b"1e999"), "out_of_range", "value"),
    (with_field("value", b"-0.001"), "out_of_range", "value"),
    (with_field("value", b"1000000.001"), "out_of_range", "value"),
    (with_field("value", b"9223372036854775808"), "out_of_range", "value"),
    (with_field("value", b"9" * 5000), "out_of_range", "value"),
    (with_field("viewer_id", b"5"), "invalid_type", "viewer_id"),
    (with_field("viewer_id", b"[]"), "invalid_type", "viewer_id"),
    (with_field("viewer_id", b'""'), "invalid_id", "viewer_id"),
    (with_field("viewer_id", b'"a b"'), "invalid_id", "viewer_id"),
    (with_field("viewer_id", rb'"a\u0000b"'), "invalid_id", "viewer_id"),
    (with_field("viewer_id", rb'"\ud800"'), "invalid_id", "viewer_id"),
    (with_field("viewer_id", b'"' + b"v" * 129 + b'"'), "too_long", "viewer_id"),
]


@pytest.mark.parametrize(("bad", "code", "field"), BAD_ITEMS)
@pytest.mark.parametrize("is_ndjson", [False, True], ids=["array", "ndjson"])
def test_bad_event_is_named_and_the_good_ones_beside_it_stay(
    bad: bytes, code: str, field: str | None, is_ndjson: bool
) -> None:
    raw_items = [RAW_GOOD, bad, RAW_GOOD]
    body = b"\n".join(raw_items) if is_ndjson else b"[" + b",".join(raw_items) + b"]"
    first, problem, last = parse(body, is_ndjson=is_ndjson)
    assert isinstance(first, Event)
    assert isinstance(last, Event)
    assert isinstance(problem, ItemProblem)
    readable_id = re.search(rb"\"event_id\": \"([0-9a-f-]{36})\"", bad)
    assert problem.event_id == (readable_id[1].decode() if readable_id else None)
    assert (problem.index, problem.code, problem.field, problem.retryable) == (1, code, field, False)


def test_raw_line_break_in_a_string_refuses_its_event_alone() -> None:
    first, problem, last = parse(b"[" + RAW_GOOD + b"," + with_field("video_id", b'"a\nb"') + b"," + RAW_GOOD + b"]")
    assert isinstance(problem, ItemProblem)
    assert (type(first), problem.code, type(last)) == (Event, "invalid_id", Event)


def test_ndjson_line_that_is_not_json_refuses_itself_alone() -> None:
    items = parse(b"\n".join([RAW_GOOD, b"{oops", b"[" * 100_000, RAW_GOOD]), is_ndjson=True)
    assert [isinstance(item, Event) for item in items] == [True, False, False, True]
    assert [item.code for item in items if isinstance(item, ItemProblem)] == ["malformed_json", "nested_too_deeply"]


@pytest.mark.parametrize("video_id", ["a';--\"", "😀", "ÄÖ", "v" * 128, "%00", "...", "<script>"])
def test_strange_but_printable_video_ids_are_events(video_id: str) -> None:
    (event,) = parse(json.dumps(make_event(video_id=video_id)).encode())
    assert isinstance(event, Event)
    assert event.video_id == video_id


@pytest.mark.parametrize("note", [b"1", b"NaN"], ids=["typed", "tolerant"])
def test_last_of_duplicate_keys_wins_in_either_way_of_reading(note: bytes) -> None:
    (event,) = parse(RAW_GOOD[:-1] + b',"note":' + note + b',"video_id":"first","video_id":"second"}')
    assert isinstance(event, Event)
    assert event.video_id == "second"


def test_unknown_fields_are_ignored() -> None:
    (event,) = parse(json.dumps(make_event(note={"a": [1, 2]}, user="u")).encode())
    assert isinstance(event, Event)


FRAGMENTS = [
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"-", b"0", b"\n", b"\\", b" ", b"\xff", b"NaN", b"1e999", b"null"),
    *(b'"events"', b'"event_id"', b'"video_id"', b'"value"', b'"occurred_at"', b'"\x00"', rb'"\ud800"', RAW_GOOD),
]
almost_json = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join)


@settings(max_examples=scale_examples(400))
@given(body=st.binary(max_size=200) | almost_json, is_ndjson=st.booleans())
def test_arbitrary_bytes_raise_nothing_but_a_refusal(body: bytes, is_ndjson: bool) -> None:
    try:
        items = parse(body, is_ndjson=is_ndjson)
    except Refused as refusal:
        assert refusal.problem.status in (400, 413, 422)
    else:
        assert [item.index for item in items if isinstance(item, ItemProblem)] == [
            index for index, item in enumerate(items) if isinstance(item, ItemProblem)
        ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=scale_examples(400))
@given(changes=st.dictionaries(st.sampled_from([*GOOD, "value", "viewer_id", "\ud800"]), json_values, max_size=3))
def test_every_refused_event_has_a_reason_that_names_its_field(changes: dict[str, object]) -> None:
    body = json.dumps([GOOD, {**GOOD, **changes}]).encode()
    good, item = parse(body)
    assert isinstance(good, Event)
    if isinstance(item, ItemProblem):
        assert item.code != "invalid_event"
        assert item.field in changes


RICH = {"context": {"flags": [True, False, None], "screen": {"w": 1920, "h": 1080}}}
SMALL_OBJECTS = b'{"event_id": "x", "a": [' + b",".join([b'{"a":{}}'] * 110_000) + b"]}"


def explain_counting(
    monkeypatch: pytest.MonkeyPatch, body: bytes, *, is_ndjson: bool = False, explain_max_values: int = 100_000
) -> tuple[list[Item] | tuple[int, str], int]:
    """What is answered, and how many characters were decoded into Python objects for it."""
    decoded: list[int] = []

    class CountingDecoder(json.JSONDecoder):
        def decode(self, text: str, *arguments: object) -> object:
            decoded.append(len(text))
            return super().decode(text, *arguments)

    monkeypatch.setattr(parsing, "TOLERANT_DECODER", CountingDecoder(strict=False))
    answer: list[Item] | tuple[int, str]
    try:
        answer = parse(body, is_ndjson=is_ndjson, explain_max_values=explain_max_values)
    except Refused as refusal:
        answer = (refusal.problem.status, refusal.problem.code)
    return answer, sum(decoded)


@pytest.mark.parametrize("is_ndjson", [False, True], ids=["array", "ndjson"])
def test_thousand_rich_events_with_a_bad_one_keep_the_others_and_name_its_field(
    monkeypatch: pytest.MonkeyPatch, is_ndjson: bool
) -> None:
    events = [json.dumps(make_event(**RICH)).encode() for _ in range(1000)]
    events[7] = json.dumps(make_event(**RICH, value="x")).encode()
    body = b"\n".join(events) if is_ndjson else b"[" + b",".join(events) + b"]"
    items, decoded_characters = explain_counting(monkeypatch, body, is_ndjson=is_ndjson, explain_max_values=100)
    assert [index for index, item in enumerate(items) if isinstance(item, ItemProblem)] == [7]
    problem = items[7]
    assert isinstance(problem, ItemProblem)
    assert (problem.code, problem.field) == ("invalid_type", "value")
    assert decoded_characters == len(events[7])


@pytest.mark.parametrize(
    ("body", "is_ndjson", "answer"),
    [
        (SMALL_OBJECTS, False, ["invalid_event"]),
        (b"[" + RAW_GOOD + b"," + SMALL_OBJECTS + b"]", False, [None, "invalid_event"]),
        (RAW_GOOD + b"\n" + SMALL_OBJECTS, True, [None, "invalid_event"]),
        (SMALL_OBJECTS[:-1] + b',"b": NaN}', True, ["malformed_json"]),
        (b"[" * 500_000 + b"\n" + RAW_GOOD, True, ["nested_too_deeply", None]),
        (SMALL_OBJECTS[:-1] + b',"b": NaN}', False, (400, "malformed_json")),
        (b"[NaN," + b",".join([b"1"] * 500_000) + b"]", False, (400, "malformed_json")),
        (b"[" + b",".join([b"1"] * 500_000) + b"]", False, (413, "too_many_events")),
        (b"[" * 500_000, False, (400, "nested_too_deeply")),
    ],
)
def test_body_of_too_many_values_is_refused_without_an_object_for_each(
    monkeypatch: pytest.MonkeyPatch, body: bytes, is_ndjson: bool, answer: object
) -> None:
    items, decoded_characters = explain_counting(monkeypatch, body, is_ndjson=is_ndjson)
    codes = items if isinstance(items, tuple) else [getattr(item, "code", None) for item in items]
    assert (codes, decoded_characters) == (answer, 0)


def test_faulty_events_are_explained_until_the_values_of_the_request_are_used_up() -> None:
    faulty = json.dumps(make_event(value="x")).encode()
    values = 1 + sum(faulty.count(mark) for mark in (b"{", b"[", b",", b":"))
    items = parse(b"[" + b",".join([faulty] * 5 + [RAW_GOOD]) + b"]", explain_max_values=2 * values)
    problems = [item for item in items if isinstance(item, ItemProblem)]
    assert [problem.code for problem in problems] == ["invalid_type"] * 2 + ["invalid_event"] * 3
    assert f"more than {2 * values} values" in problems[-1].message
    assert isinstance(items[-1], Event)

"""Bodies as real senders write them: every event in them is counted, or the request or item is refused and says why."""

import gzip
import json

import pytest
from backports import zstd

from runtime.http.errors import Refused
from tests.unit.ingest.builders import make_event
from viewcounter.events.message import Event
from viewcounter.ingest.decoding import Item, parse_items
from viewcounter.ingest.faults import ItemProblem
from viewcounter.web.request import Encoding, parse_content, read_head, unpack

ONE, TWO = (json.dumps(make_event()).encode() for _ in range(2))
MARK = b"\xef\xbb\xbf"
LINES = ONE + b"\n" + TWO + b"\n"
PRETTY = json.dumps({"events": [json.loads(ONE), json.loads(TWO)]}, indent=2).encode()


def id_of(event: bytes) -> str:
    return str(json.loads(event)["event_id"])


def parse(body: bytes, *, is_ndjson: bool = False) -> list[Item]:
    return list(parse_items(body, is_ndjson=is_ndjson, max_events=100, explain_max_values=10_000))


@pytest.mark.parametrize(
    ("body", "is_ndjson"),
    [
        pytest.param(MARK + b"[" + ONE + b"," + TWO + b"]", False, id="mark before an array"),
        pytest.param(MARK + b'{"events": [' + ONE + b"," + TWO + b"]}", False, id="mark before an envelope"),
        pytest.param(MARK + LINES, True, id="mark before lines"),
        pytest.param(MARK + ONE + b"\n" + MARK + TWO, True, id="mark before each line"),
        pytest.param(LINES, False, id="lines declared as JSON"),
        pytest.param(b"\r\n" + ONE + b"\r\n" + TWO, False, id="lines of Windows declared as JSON"),
        pytest.param(MARK + LINES, False, id="mark and lines declared as JSON"),
        pytest.param(b'{"batch": [' + ONE + b"," + TWO + b"]}", False, id="batch"),
        pytest.param(b'{"batch":[' + ONE + b"," + TWO + b"]}\n", False, id="batch with a line end"),
        pytest.param(b'{"sent_at": 1, "batch": [' + ONE + b"," + TWO + b"]}", False, id="batch after another key"),
        pytest.param(b'{"batch": [' + ONE + b"," + TWO + b'], "sent_at": 1}', False, id="batch before another key"),
        pytest.param(PRETTY, False, id="indented"),
    ],
)
def test_every_event_of_the_body_is_read(body: bytes, is_ndjson: bool) -> None:
    items = parse(body, is_ndjson=is_ndjson)
    assert [str(item.event_id) for item in items if isinstance(item, Event)] == [id_of(ONE), id_of(TWO)]
    assert len(items) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl"),
        *("application/jsonlines", "application/x-jsonlines", "application/json-lines", "text/x-ndjson", "text/jsonl"),
        *("Application/NDJSON; charset=utf-8", "application/jsonl;charset=UTF-8"),
    ],
)
def test_common_names_of_ndjson(name: str) -> None:
    assert parse_content(read_head([(b"content-type", name.encode())])).is_ndjson


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (Encoding.GZIP, gzip.compress(ONE + b"\n") + gzip.compress(TWO + b"\n")),
        (Encoding.ZSTD, zstd.compress(ONE + b"\n") + zstd.compress(TWO + b"\n")),
    ],
)
def test_streams_of_one_line_each_are_read(encoding: Encoding, body: bytes) -> None:
    items = parse(unpack(body, encoding, max_bytes=10_000), is_ndjson=True)
    assert [str(item.event_id) for item in items if isinstance(item, Event)] == [id_of(ONE), id_of(TWO)]


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b'{"events": [' + ONE + b'], "batch": [' + TWO + b"]}", "two_envelopes", "both"),
        (b'{"batch": [' + ONE + b'], "events": [' + TWO + b"]}", "two_envelopes", "both"),
        (b'{"events": [' + ONE + b'], "events": [' + TWO + b"]}", "repeated_key", "more than once"),
        (b'{"events": [], "events": [' + TWO + b"]}", "repeated_key", "more than once"),
        (b'{"batch": [' + ONE + b'], "x": 1, "batch": [' + TWO + b"]}", "repeated_key", "more than once"),
        (ONE[:-1] + b', "events": [' + TWO + b"]}", "list_in_event", "within the list"),
        (ONE[:-1] + b', "batch": [' + TWO + b"]}", "list_in_event", "within the list"),
        (b'{"events": [' + TWO + b"], " + ONE[1:], "list_in_event", "within the list"),
        (json.dumps([1]).encode("utf-16"), "malformed_json", "UTF-16"),
        (b'{"batch": 5}', "invalid_shape", "array of events"),
    ],
)
def test_body_of_which_a_part_would_be_lost_is_refused_whole(body: bytes, code: str, word: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.problem.code == code
    assert word in caught.value.problem.detail


@pytest.mark.parametrize("key", [b"events", b"batch"])
@pytest.mark.parametrize("note", [b"1", b"NaN"], ids=["typed", "tolerant"])
@pytest.mark.parametrize("is_ndjson", [False, True], ids=["array", "lines"])
def test_item_that_holds_a_list_is_refused_alone(key: bytes, note: bytes, is_ndjson: bool) -> None:
    holder = ONE[:-1] + b', "note": ' + note + b', "' + key + b'": [' + TWO + b"]}"
    body = TWO + b"\n" + holder if is_ndjson else b"[" + TWO + b"," + holder + b"]"
    event, problem = parse(body, is_ndjson=is_ndjson)
    assert isinstance(event, Event)
    assert isinstance(problem, ItemProblem)
    assert (problem.code, problem.event_id) == ("list_in_event", id_of(ONE))


@pytest.mark.parametrize("note", [b'{"events": [1]}', b'"events"', b'"\\"events\\": ["'])
def test_the_word_events_deeper_in_an_event_is_no_list_of_events(note: bytes) -> None:
    event = ONE[:-1] + b', "note": ' + note + b"}"
    for body in (event, b"[" + event + b"]", b'{"events": [' + event + b"]}", b'{"events": [' + event + b'], "a": 1}'):
        (item,) = parse(body)
        assert isinstance(item, Event)


def test_field_named_batch_that_is_no_list_is_a_field_like_any_other() -> None:
    (item,) = parse(ONE[:-1] + b', "batch": "2026-12"}')
    assert isinstance(item, Event)

"""Ids and times of events in the spellings of real senders; what cannot be counted is refused by name."""

import json
import re
import unicodedata
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewcounter_client.errors import InvalidEvent
from viewcounter_client.events import make_event as make_pending

from tests.unit.ingest.builders import TOPOLOGY, make_event
from viewcounter.api.parameters import check_id
from viewcounter.events.message import VIDEO_ID_PATTERN, VIEWER_ID_PATTERN, Event, are_canonical
from viewcounter.events.viewer_keys import ViewerNumbers
from viewcounter.ingest.decoding import Item, parse_items
from viewcounter.ingest.faults import ItemProblem
from viewcounter.ingest.settings import AcceptWindow
from viewcounter.ingest.validation import Acceptor

ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
SHAPES = ["single", "array", "envelope", "lines"]


def parse(event: dict[str, object], shape: str = "single") -> Item:
    raw = json.dumps(event).encode()
    body = {"single": raw, "array": b"[%s]" % raw, "envelope": b'{"events": [%s]}' % raw, "lines": raw}[shape]
    (item,) = parse_items(body, is_ndjson=shape == "lines", max_events=10, explain_max_values=1000)
    return item


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "text",
    [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", f"URN:UUID:{ID.upper()}"],
)
def test_every_spelling_is_the_same_id(text: str, shape: str) -> None:
    item = parse(make_event(event_id=text), shape)
    assert isinstance(item, Event)
    assert item.event_id == UUID(ID)


@pytest.mark.parametrize(
    "text",
    [f"{{{ID}", f"{ID}}}", f"urn:uuid:{{{ID}}}", f"urn:{ID}", ID.replace("-", "_"), ID[1:] + "-", "{}", f"{ID} "],
)
def test_other_spellings_of_an_id_are_refused(text: str) -> None:
    item = parse(make_event(event_id=text))
    assert isinstance(item, ItemProblem)
    assert (item.code, item.field) == ("invalid_id", "event_id")


@pytest.mark.parametrize("text", [str(UUID(int=0)), str(UUID(int=(1 << 128) - 1)), "{" + str(UUID(int=0)) + "}"])
@pytest.mark.parametrize("other", [{}, {"value": "x"}], ids=["else right", "other faults"])
def test_nil_and_max_ids_are_refused(text: str, other: dict[str, object]) -> None:
    item = parse(make_event(event_id=text, **other))
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    acceptance = Acceptor(TOPOLOGY, AcceptWindow(), viewers=ViewerNumbers(lambda: "x" * 40)).accept(
        [item], now_us=now_us
    )
    assert [(p.code, p.field, p.event_id) for p in acceptance.problems] == [
        ("reserved_id", "event_id", str(UUID(text)))
    ]
    assert acceptance.count == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-29T23:59:59.9999999Z", datetime(2026, 11, 29, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-11-29T23:59:60Z", datetime(2026, 11, 29, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-11-29 23:59:59.1234567+00:00", datetime(2026, 11, 29, 23, 59, 59, 123_456, tzinfo=UTC)),
    ],
)
def test_time_is_cut_to_microseconds_in_every_shape(text: str, instant: datetime, shape: str) -> None:
    for more in ({}, {"note": 1}):
        item = parse(make_event(occurred_at=text, **more), shape)
        assert isinstance(item, Event)
        assert item.occurred_at == instant


@pytest.mark.parametrize(
    ("value", "code", "word"),
    [
        ("2026-11-29T15:10:00+00", "invalid_time", "write 2026-11-29T15:10:00+00:00."),
        ("2026-11-29T15:10Z", "invalid_time", "write 2026-11-29T15:10:00Z."),
        ("2026-11-29T15:10:00", "missing_offset", "2026-11-29T15:10:00Z."),
        (1764429000, "invalid_type", "write 2025-11-29T15:10:00Z."),
        (1764429000250, "invalid_type", "write 2025-11-29T15:10:00.250Z."),
        (1e300, "invalid_type", "as text."),
        (True, "invalid_type", "as text."),
    ],
)
def test_other_times_are_refused_with_the_nearest_right_form(value: object, code: str, word: str) -> None:
    item = parse(make_event(occurred_at=value))
    assert isinstance(item, ItemProblem)
    assert (item.code, item.field) == (code, "occurred_at")
    assert item.message.endswith(word)


@pytest.mark.parametrize(
    "video_id",
    [
        ".",
        "..",
        "ab\u200b",
        "a\u202eb",
        "a\u2066b",
        "a\u00adb",
        "\ufeffab",
        "a\u3000b",
        "a\u2003b",
        "\u3164",
        "a\u200db",
    ],
)
def test_video_ids_that_cannot_be_asked_for_or_seen_are_refused(video_id: str) -> None:
    item = parse(make_event(video_id=video_id))
    assert isinstance(item, ItemProblem)
    assert (item.code, item.field) == ("invalid_id", "video_id")


@pytest.mark.parametrize("video_id", ["...", ".a", "a..", "caf\u00e9", "\u65e5\u672c", "%2e", "\U0001f600"])
def test_other_video_ids_are_accepted(video_id: str) -> None:
    assert isinstance(parse(make_event(video_id=video_id)), Event)


@given(video_id=st.text(min_size=1, max_size=3) | st.sampled_from([".", "..", "a.", "\u200b", "a\u2066", "\u3000"]))
def test_client_library_accepts_the_video_ids_that_the_gateway_accepts(video_id: str) -> None:
    try:
        make_pending("view", video_id=video_id)
    except InvalidEvent:
        is_accepted_by_client = False
    else:
        is_accepted_by_client = True
    assert is_accepted_by_client == isinstance(parse(make_event(video_id=video_id)), Event)


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_that_differ_only_in_the_form_of_their_accents_are_one_video(shape: str) -> None:
    ids = set()
    for text in ("cafe\u0301", "caf\u00e9"):
        item = parse(make_event(video_id=text), shape)
        assert isinstance(item, Event)
        ids.add(item.video_id)
        assert check_id("video_id", text) == item.video_id
    assert ids == {"caf\u00e9"}


def test_an_id_that_its_normal_form_makes_too_long_is_refused() -> None:
    item = parse(make_event(video_id="\u0958" * 65))  # normal form C takes each of them apart
    assert isinstance(item, ItemProblem)
    assert (item.code, item.field) == ("too_long", "video_id")


@given(
    texts=st.lists(
        st.text(st.sampled_from(list("./a\u0301e\u200b\u00e9\ud800\x00 \n\u0338")), min_size=1, max_size=3), max_size=4
    )
)
def test_a_batch_is_canonical_if_each_id_is(texts: list[str]) -> None:
    def is_right(text: str) -> bool:
        return re.search(VIDEO_ID_PATTERN, text) is not None and unicodedata.is_normalized("NFC", text)

    events = [Event(UUID(ID), text, "view", datetime.now(UTC)) for text in texts]
    assert are_canonical(events) == all(map(is_right, texts))
    viewers = [Event(UUID(ID), "v", "view", datetime.now(UTC), viewer_id=text) for text in texts]
    assert are_canonical(viewers) == all(re.search(VIEWER_ID_PATTERN, text) for text in texts)

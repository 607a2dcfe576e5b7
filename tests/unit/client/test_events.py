"""The arguments of `track`: what is taken, how it is written, what is refused at once."""

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from viewcounter_client import InvalidEvent
from viewcounter_client.events import make_event, make_uuid7

from viewcounter.events.message import Event
from viewcounter.ingest.decoding import parse_items

AT = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))
ID = "0190163d-8694-739b-aea5-966c26f8ad91"


def test_an_event_is_written_as_the_service_reads_it():
    event = make_event(
        "watch_time", video_id="XpVt6Z1Gjjo", occurred_at=AT, value=12.5, viewer_id="ada/7", event_id=UUID(ID)
    )
    assert json.loads(event.body) == {
        "event_id": ID,
        "video_id": "XpVt6Z1Gjjo",
        "event_type": "watch_time",
        "occurred_at": "2026-03-01T12:30:00+02:00",
        "value": 12.5,
        "viewer_id": "ada/7",
    }
    assert event.event_id == ID


def test_an_event_without_id_and_time_gets_both_now():
    before = datetime.now(UTC)
    event = msgspec.json.decode(make_event("view", video_id="v").body, type=Event)
    assert before <= event.occurred_at <= datetime.now(UTC)
    assert (event.event_id.version, event.event_id.variant) == (7, "specified in RFC 4122")
    assert abs((event.event_id.int >> 80) - time.time() * 1000) < 5000


def test_new_ids_are_distinct():
    assert len({make_uuid7() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("event_type", {"event_type": ""}),
        ("event_type", {"event_type": "View"}),
        ("event_type", {"event_type": "v" * 65}),
        ("event_type", {"event_type": 7}),
        ("video_id", {"video_id": ""}),
        ("video_id", {"video_id": "a b"}),
        ("video_id", {"video_id": "a/b"}),
        ("video_id", {"video_id": "a\0"}),
        ("video_id", {"video_id": "a\ud800"}),
        ("video_id", {"video_id": "v" * 129}),
        ("video_id", {"video_id": None}),
        ("occurred_at", {"occurred_at": datetime(2026, 1, 1)}),
        ("occurred_at", {"occurred_at": "2026-01-01T00:00:00Z"}),
        ("value", {"value": -1}),
        ("value", {"value": float("nan")}),
        ("value", {"value": float("inf")}),
        ("value", {"value": 1_000_001}),
        ("value", {"value": True}),
        ("value", {"value": "1"}),
        ("viewer_id", {"viewer_id": ""}),
        ("viewer_id", {"viewer_id": "a b"}),
        ("viewer_id", {"viewer_id": "a\0"}),
        ("viewer_id", {"viewer_id": "a\ud800"}),
        ("viewer_id", {"viewer_id": "v" * 129}),
        ("viewer_id", {"viewer_id": 7}),
        ("event_id", {"event_id": "1"}),
        ("event_id", {"event_id": 1}),
    ],
)
def test_what_the_service_would_refuse_is_refused_at_once_by_field(field, arguments):
    with pytest.raises(InvalidEvent) as caught:
        make_event(**{"event_type": "view", "video_id": "v", **arguments})
    assert caught.value.field == field


texts = st.text(max_size=140)


@example(video_id="\u0958" * 65, value=None, viewer_id=None)  # longer in normal form C
@given(video_id=st.just("v") | texts, value=st.none() | st.floats() | st.integers(), viewer_id=st.none() | texts)
def test_client_and_service_agree_on_what_an_event_is(video_id, value, viewer_id):
    body = {
        "event_id": ID,
        "video_id": video_id,
        "event_type": "view",
        "occurred_at": AT.isoformat(),
        "value": value,
        "viewer_id": viewer_id,
    }
    (item,) = parse_items(json.dumps(body).encode(), is_ndjson=False, max_events=1, explain_max_values=100)
    is_event = isinstance(item, Event)
    try:
        make_event("view", video_id=video_id, occurred_at=AT, value=value, viewer_id=viewer_id, event_id=ID)
    except InvalidEvent:
        assert not is_event
    else:
        assert is_event

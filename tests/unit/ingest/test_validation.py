"""What is accepted, with which stored values, and what is refused although it is a well-formed event."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.ingest.builders import PARTITION_COUNT, TOPOLOGY, make_event, make_uuid7
from viewcounter.eventlog.codec import AcceptedEvent
from viewcounter.events.partition import get_partition
from viewcounter.events.viewer import NO_VIEWER
from viewcounter.events.viewer_keys import ViewerNumbers
from viewcounter.ingest.decoding import parse_items
from viewcounter.ingest.settings import AcceptWindow
from viewcounter.ingest.validation import Acceptance, Acceptor

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
WINDOW = AcceptWindow(past_seconds=7 * 86400, future_seconds=300)
VIEWERS = ViewerNumbers(lambda: "x" * 40)
ACCEPTOR = Acceptor(TOPOLOGY, WINDOW, viewers=VIEWERS)


def event(**changes: Any) -> dict[str, Any]:
    return make_event(**{"occurred_at": NOW.isoformat(), **changes})


def accept(*events: dict[str, Any]) -> Acceptance:
    body = json.dumps(events).encode()
    return ACCEPTOR.accept(
        parse_items(body, is_ndjson=False, max_events=1000, explain_max_values=100_000), now_us=NOW_US
    )


def accepted(**changes: Any) -> AcceptedEvent:
    acceptance = accept(event(**changes))
    assert acceptance.problems == []
    ((only,),) = acceptance.by_partition.values()
    return only


def refusal(**changes: Any) -> tuple[str, str | None]:
    acceptance = accept(event(), event(**changes), event())
    assert acceptance.count == sum(map(len, acceptance.by_partition.values())) == 2
    (problem,) = acceptance.problems
    assert (problem.index, problem.retryable) == (1, False)
    return problem.code, problem.field


def test_accepted_event_has_id_bytes_type_id_microseconds_and_thousandths() -> None:
    event_id = "0190163d-8694-439b-aea5-966c26f8ad91"
    got = accepted(
        event_id=event_id, event_type="watch_time", occurred_at="2026-03-01T13:00:00.000001+02:00", value=12.3456
    )
    assert got == AcceptedEvent(uuid.UUID(event_id).bytes, "dQw4w9WgXcQ", 6, NOW_US - 3_600_000_000 + 1, 12346)


def test_a_viewer_is_accepted_as_its_number_and_the_name_goes_no_further() -> None:
    got = accepted(viewer_id="ada@example.com")
    assert got.viewer == VIEWERS.get_number("ada@example.com", NOW_US)
    assert "ada" not in repr(got)


@pytest.mark.parametrize("viewer_id", [..., None])
def test_an_event_without_viewer_has_none(viewer_id: object) -> None:
    assert accepted(viewer_id=viewer_id).viewer == NO_VIEWER


@pytest.mark.parametrize(
    ("value", "thousandths"),
    [(0, 0), (-0.0, 0), (1, 1000), (0.0005, 0), (0.0015, 2), (0.001, 1), (999999.999, 999_999_999), (1e6, 10**9)],
)
def test_values_are_rounded_half_even_to_thousandths(value: float, thousandths: int) -> None:
    assert accepted(event_type="watch_time", value=value).value == thousandths


@pytest.mark.parametrize("thousandths", range(0, 10**9, 7_654_321))
def test_values_of_three_decimals_are_kept_exactly(thousandths: int) -> None:
    assert accepted(event_type="watch_time", value=thousandths / 1000).value == thousandths


def test_event_of_an_unvalued_type_may_omit_its_value() -> None:
    assert accepted(event_type="view").value == 0


def test_valued_type_without_value_is_refused() -> None:
    assert refusal(event_type="watch_time") == ("value_required", "value")


@pytest.mark.parametrize("name", ["clap", "", "View", "\ud800", "a\x00"])
def test_unknown_event_type_is_refused(name: str) -> None:
    assert refusal(event_type=name) == ("unknown_event_type", "event_type")


@pytest.mark.parametrize("seconds_ago", [7 * 86400, 0, -300])
def test_times_at_the_edges_of_the_window_are_accepted(seconds_ago: int) -> None:
    at = NOW - timedelta(seconds=seconds_ago)
    assert accepted(occurred_at=at.isoformat()).occurred_us == NOW_US - seconds_ago * 1_000_000


@pytest.mark.parametrize(
    ("occurred_at", "code"),
    [
        ((NOW - timedelta(days=7, microseconds=1)).isoformat(), "too_old"),
        ((NOW + timedelta(seconds=300, microseconds=1)).isoformat(), "in_the_future"),
        ("0001-01-01T00:00:00+14:00", "too_old"),
        ("9999-12-31T23:59:59-14:00", "in_the_future"),
    ],
)
def test_times_outside_the_window_are_refused(occurred_at: str, code: str) -> None:
    assert refusal(occurred_at=occurred_at) == (code, "occurred_at")


@pytest.mark.parametrize("off", [timedelta(days=-8), timedelta(seconds=400)])
def test_uuid7_from_outside_the_window_is_refused(off: timedelta) -> None:
    assert refusal(event_id=make_uuid7(NOW + off)) == ("event_id_out_of_window", "event_id")


def test_uuid7_from_within_the_window_is_accepted() -> None:
    assert accepted(event_id=make_uuid7(NOW - timedelta(days=6))).occurred_us == NOW_US


def test_duplicate_ids_within_a_request_are_left_to_the_flush() -> None:
    twin = event()
    acceptance = accept(twin, twin)
    assert (acceptance.count, acceptance.problems) == (2, [])


def test_events_are_grouped_by_the_partition_of_their_video_in_order() -> None:
    videos = [f"video-{number % 20}" for number in range(100)]
    acceptance = accept(*(event(video_id=video, event_type="view") for video in videos))
    for partition, events in acceptance.by_partition.items():
        expected = [v for v in videos if get_partition(v, partition_count=PARTITION_COUNT) == partition]
        assert [e.video_id for e in events] == expected
    assert acceptance.count == 100


def test_unstored_events_are_named_with_their_index_and_may_be_sent_again() -> None:
    items = [event(video_id=f"video-{number}") for number in range(20)] + [event(event_type="clap")]
    parsed = parse_items(json.dumps(items).encode(), is_ndjson=False, max_events=1000, explain_max_values=100_000)
    acceptance = ACCEPTOR.accept(parsed, now_us=NOW_US)
    failed = set(list(acceptance.by_partition)[:2])
    unstored = acceptance.find_unstored(failed)
    expected = [
        (index, item["event_id"], "log_unavailable", True)
        for index, item in enumerate(items[:20])
        if get_partition(item["video_id"], partition_count=PARTITION_COUNT) in failed
    ]
    assert [(p.index, p.event_id, p.code, p.retryable) for p in unstored] == expected


def test_judging_now_uses_the_clock_given_not_the_one_of_the_machine() -> None:
    assert abs(time.time() - NOW.timestamp()) > WINDOW.past_seconds
    assert accept(event()).count == 1

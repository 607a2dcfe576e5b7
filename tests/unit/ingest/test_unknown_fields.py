"""Fields that no event has are named, or refuse their event; every fault of an event is named at once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.metrics import REGISTRY
from tests.unit.ingest.builders import FaultyLog, ago, make_event, make_gateway, make_uuid7, post, read_event_ids
from viewcounter.ingest.metrics import MAX_IGNORED_LABELS, OTHER_NAMES, IngestMeter
from viewcounter.ingest.unknown_fields import MAX_NAME_CHARACTERS, MAX_NAMES

SHAPES = ["single", "array", "envelope", "lines", "lines as JSON"]


def shape_body(shape: str, *events: dict[str, Any]) -> tuple[bytes, str]:
    """Body and content type."""
    raw = [json.dumps(event).encode() for event in events]
    bodies = {"array": b"[%s]", "envelope": b'{"events": [%s]}'}
    if shape in bodies:
        return bodies[shape] % b",".join(raw), "application/json"
    return b"\n".join(raw), "application/x-ndjson" if shape == "lines" else "application/json"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "unusual",
    [
        {},
        {"occurred_at": "2999"},
        {"event_id": "urn:uuid:3f2504e0-4f89-41d3-9a0c-0305e82c3301"},
        {"video_id": "e\u0301"},
    ],
    ids=["else right", "a fault", "an id to be mended", "an id to be normalised"],
)
def test_ignored_fields_are_named_in_every_shape_and_the_event_counts(
    log: FaultyLog, shape: str, unusual: dict[str, Any]
) -> None:
    events = [make_event(viewerId="x", **unusual), make_event(source={"a": 1}), make_event()]
    body, content_type = shape_body(shape, *(events[:1] if shape == "single" else events))
    answer = post(make_gateway(log), body, content_type=content_type).json
    assert answer["ignored"] == (["viewerId"] if shape == "single" else ["source", "viewerId"])
    assert answer["rejected"] == (1 if "occurred_at" in unusual else 0)


def test_an_answer_without_ignored_fields_does_not_mention_them(log: FaultyLog) -> None:
    assert "ignored" not in post(make_gateway(log), json.dumps([make_event()]).encode()).json


@pytest.mark.parametrize("beside", [b'"sent_at": 1, "events": [%s]', b'"events": [%s], "sent_at": NaN'])
def test_fields_beside_the_list_of_events_are_named_and_refused_if_strict(log: FaultyLog, beside: bytes) -> None:
    body = b"{" + beside % json.dumps(make_event()).encode() + b"}"
    assert post(make_gateway(log), body).json["ignored"] == ["sent_at"]
    refused = post(make_gateway(log), body, query="strict=1")
    assert (refused.status, refused.json["code"]) == (422, "unknown_field")
    assert "`sent_at`" in refused.json["detail"]


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_strict_refuses_only_the_events_with_unknown_fields(log: FaultyLog, shape: str) -> None:
    good = make_event()
    body, content_type = shape_body(shape, make_event(viewerId="x", ip="::1"), good)
    response = post(make_gateway(log), body, content_type=content_type, query="strict=1")
    assert response.status == 207
    (item,) = response.json["items"]
    faults = [item, *item["other_faults"]]
    assert [(fault["code"], fault["field"]) for fault in faults] == [
        ("unknown_field", "ip"),
        ("unknown_field", "viewerId"),
    ]
    assert "write viewer_id" in faults[1]["message"]
    assert "ignored" not in response.json
    assert read_event_ids(log) == [good["event_id"]]


@pytest.mark.parametrize("strict", ["0", "false"])
def test_strict_may_be_declined(log: FaultyLog, strict: str) -> None:
    assert post(make_gateway(log), json.dumps(make_event(x=1)).encode(), query=f"strict={strict}").status == 202


def test_all_faults_of_the_query_are_named_at_once(log: FaultyLog) -> None:
    response = post(make_gateway(log), json.dumps(make_event()).encode(), query="strict=yes&wait=long&waits=1")
    assert response.status == 422
    assert sorted(error["field"] for error in response.json["errors"]) == ["strict", "wait", "waits"]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_faults_of_an_event_are_named_at_once(log: FaultyLog, shape: str) -> None:
    event = make_event(event_id="x", video_id="..", event_type="veiw", occurred_at=..., value=-1, viewer_id="a b")
    body, content_type = shape_body(shape, *([event] if shape == "single" else [event, make_event()]))
    (item,) = post(make_gateway(log), body, content_type=content_type).json["items"]
    assert {(fault["field"], fault["code"]) for fault in (item, *item["other_faults"])} == {
        ("event_id", "invalid_id"),
        ("video_id", "invalid_id"),
        ("event_type", "unknown_event_type"),
        ("occurred_at", "missing_field"),
        ("value", "out_of_range"),
        ("viewer_id", "invalid_id"),
    }


def test_faults_that_only_the_cluster_knows_are_named_at_once(log: FaultyLog) -> None:
    old = ago(days=30)
    event = make_event(event_id=make_uuid7(old), occurred_at=old.isoformat(), event_type="watch_time")
    (item,) = post(make_gateway(log), json.dumps(event).encode()).json["items"]
    assert [(fault["field"], fault["code"]) for fault in (item, *item["other_faults"])] == [
        ("occurred_at", "too_old"),
        ("event_id", "event_id_out_of_window"),
        ("value", "value_required"),
    ]


def test_an_event_with_one_fault_has_no_list_of_others(log: FaultyLog) -> None:
    (item,) = post(make_gateway(log), json.dumps(make_event(video_id="..")).encode()).json["items"]
    assert "other_faults" not in item


@given(names=st.sets(st.text(max_size=100), max_size=60))
def test_names_are_bounded_and_printable(names: set[str]) -> None:
    answer = post(make_gateway(FaultyLog()), json.dumps(make_event(**dict.fromkeys(names))).encode()).json
    ignored = answer.get("ignored", [])
    assert len(ignored) <= MAX_NAMES
    assert all(len(name) <= MAX_NAME_CHARACTERS and name.isprintable() for name in ignored)
    assert bool(ignored) == bool(names - make_event().keys() - {"value", "viewer_id"})


def test_only_the_first_plain_names_become_labels_of_the_metric() -> None:
    meter = IngestMeter(lambda: 0)
    name = "viewcounter_ignored_fields_total"
    before = REGISTRY.get_sample_value(name, {"field": OTHER_NAMES}) or 0
    meter.count_ignored([f"field{n}" for n in range(MAX_IGNORED_LABELS)] + ["one more", "field1", "field_more", "ß"])
    meter.publish()
    assert REGISTRY.get_sample_value(name, {"field": "field1"}) == 2
    assert REGISTRY.get_sample_value(name, {"field": "field_more"}) is None
    assert REGISTRY.get_sample_value(name, {"field": OTHER_NAMES}) == before + 3

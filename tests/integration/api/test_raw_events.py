"""Raw slices: every event exactly once and in order, however the pages are cut."""

import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.queries.rows import await_replicas
from tests.tiers import scale_examples
from viewcounter.api.resources.raw_events import encode_event_key
from viewcounter.events.partition import get_partition
from viewcounter.queries.raw_events import EventKey

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(hours=3)
VIDEO, OTHER = "XpVt6Z1Gjjo", "K4wEI5zhHB0"
VIEW, WATCH_TIME = 1, 6
NAMES = {VIEW: "view", WATCH_TIME: "watch_time"}


def make_events(count=120):
    """Many at one instant, so that the order of ids decides."""
    rng = random.Random(7)
    return [
        (
            uuid.UUID(int=rng.getrandbits(128)),
            rng.choice([VIEW, WATCH_TIME]),
            START + timedelta(minutes=rng.randint(0, 20)),
        )
        for _ in range(count)
    ]


def store(cluster, video, events):
    partition = get_partition(video, partition_count=cluster.topology.partition_count)
    with cluster.transaction(partition) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO event_type (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", list(NAMES.items())
        )
        cursor.executemany(
            "INSERT INTO raw_event (partition, event_type_id, received_at, occurred_at, value, event_id, video_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(partition, type_id, NOW, at, 2500, event_id, video) for event_id, type_id, at in events],
        )
    await_replicas(cluster)


def read_pages(api, limits, **parameters):
    """All pages, the limits in turn."""
    found, cursor, turn = [], None, 0
    while True:
        query = {"video_id": VIDEO, "limit": limits[turn % len(limits)], **parameters}
        page = api.get("/v1/events?" + encode(query | ({"cursor": cursor} if cursor else {})), "/v1/events")
        assert len(page["events"]) <= query["limit"]
        found += page["events"]
        cursor, turn = page["next_cursor"], turn + 1
        if cursor is None:
            return found
        assert len(page["events"]) == query["limit"]


def encode(query):
    return "&".join(f"{name}={str(value).replace('+', '%2B')}" for name, value in query.items())


def show(at):
    return at.isoformat().replace("+00:00", "Z")


@pytest.fixture
def events(api):
    events = make_events()
    store(api.cluster, VIDEO, events)
    store(api.cluster, OTHER, [(uuid.uuid4(), VIEW, START)])
    return sorted(events, key=lambda event: (event[2], event[0]))


def test_pages_hold_every_event_once_and_in_order_however_they_are_cut(api, events):
    expected = [(str(event_id), NAMES[type_id], show(at)) for event_id, type_id, at in events]

    @settings(
        max_examples=scale_examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(limits=st.lists(st.integers(9, 150), min_size=1, max_size=4))
    def check(limits):
        found = read_pages(api, limits)
        assert [(e["event_id"], e["event_type"], e["occurred_at"]) for e in found] == expected

    check()


def test_a_page_says_what_it_holds_and_since_when_events_are_kept(api, events):
    page = api.get(f"/v1/events?video_id={VIDEO}&limit=1", "/v1/events")
    event_id, type_id, at = events[0]
    assert page["events"] == [
        {
            "event_id": str(event_id),
            "event_type": NAMES[type_id],
            "occurred_at": show(at),
            "received_at": show(NOW),
            "value": 2.5,
        }
    ]
    assert (page["start_time"], page["end_time"]) == (None, None)
    assert page["meta"]["source"] == ["raw"]
    assert datetime.fromisoformat(page["kept_from"]) <= NOW.replace(hour=0, minute=0, second=0)


def test_times_and_type_narrow_the_slice_to_the_microsecond(api, events):
    start, end = START + timedelta(minutes=5), START + timedelta(minutes=9)
    expected = [str(e) for e, type_id, at in events if start <= at < end and type_id == WATCH_TIME]
    found = read_pages(api, [50], start_time=show(start), end_time=show(end), event_type="watch_time")
    assert [e["event_id"] for e in found] == expected
    found = read_pages(api, [50], start_time=show(start + timedelta(microseconds=1)), end_time=show(end))
    assert {e["event_id"] for e in found} == {str(e) for e, _, at in events if start < at < end}


def test_a_video_without_events_has_an_empty_last_page(api):
    page = api.get("/v1/events?video_id=never-seen", "/v1/events")
    assert (page["events"], page["next_cursor"]) == ([], None)


def test_cursor_of_another_question_or_of_nobody_is_refused(api, events):
    cursor = api.get(f"/v1/events?video_id={VIDEO}&limit=1", "/v1/events")["next_cursor"]
    forged = encode_event_key(EventKey(START, uuid.uuid4()), parameters=("another", None, None, None))
    for query, code in (
        (f"video_id={OTHER}&cursor={cursor}", "cursor_of_another_question"),
        (f"video_id={VIDEO}&event_type=view&cursor={cursor}", "cursor_of_another_question"),
        (f"video_id={VIDEO}&cursor={forged}", "cursor_of_another_question"),
        (f"video_id={VIDEO}&cursor={cursor}x", "invalid_cursor"),
        (f"video_id={VIDEO}&cursor=x", "invalid_cursor"),
    ):
        answer = api.call("GET", f"/v1/events?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("", "video_id", "required"),
        ("video_id=a%20b", "video_id", "invalid_id"),
        ("video_id=a&limit=0", "limit", "out_of_range"),
        ("video_id=a&limit=1001", "limit", "out_of_range"),
        ("video_id=a&event_type=stare", "event_type", "unknown_event_type"),
        ("video_id=a&start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z", "end_time", "end_before_start"),
        ("video_id=a&strat_time=2026-01-02T00:00:00Z", "strat_time", "unknown_parameter"),
    ],
)
def test_questions_that_cannot_be_answered_name_the_parameter(api, query, field, code):
    answer = api.call("GET", f"/v1/events?{query}")
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_other_methods_name_also_the_lane_s_and_reading_needs_its_scope(api):
    for method in ("PUT", "OPTIONS", "POST"):
        answer = api.call(method, "/v1/events")
        assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, POST")
    assert api.call("GET", f"/v1/events?video_id={VIDEO}", scope="events:write").status_code == 403

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from devtools.bench.posts import make_posts
from viewcounter.ingest.decoding import parse_items


def take(batch_events, count, **options):
    posts = make_posts(host="h:1", token="t", batch_events=batch_events, seed=3, template_events=200, **options)
    return list(itertools.islice(posts, count))


def parse(request):
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/events HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    return parse_items(body, is_ndjson=False, max_events=1000, explain_max_values=100_000)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_every_post_holds_so_many_valid_events_of_this_very_second(size):
    for request in take(size, 3):
        events = parse(request)
        assert len(events) == size
        for event in events:
            assert datetime.now(UTC) - event.occurred_at < timedelta(minutes=1)
            assert event.event_id.version == 4


def test_ids_never_repeat_also_when_the_templates_come_again():
    ids = [event.event_id for request in take(100, 50) for event in parse(request)]
    assert len(set(ids)) == 5000


def test_watch_time_has_a_value_and_others_have_none():
    events = [event for request in take(100, 20) for event in parse(request)]
    assert {event.value is None for event in events if event.event_type == "watch_time"} == {False}
    assert {event.value is None for event in events if event.event_type != "watch_time"} == {True}
    assert {event.event_type for event in events} == {"view", "like", "comment", "watch_time"}

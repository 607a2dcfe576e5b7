from collections import Counter
from datetime import UTC, datetime
from itertools import islice

import msgspec
import pytest

from devtools.bench.event_stream import EventStream, build_columns, build_posts, encode_events
from viewcounter.ingest.decoding import parse_items

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def test_every_hundredth_event_is_one_of_before_whatever_the_size_of_what_is_taken():
    stream = EventStream(seed=1, repeat_after=250)
    rows = [row for size in (1, 99, 400, 300, 700) for row in stream.take(size, now=NOW).tolist()]
    again = {place: place - 250 for place in range(299, 1500, 100)}
    assert {place for place, row in enumerate(rows) if row in rows[:place]} == set(again)
    assert all(rows[place] == rows[source] for place, source in again.items())


@pytest.mark.parametrize("sent", [0, 1, 250, 299, 300, 301, 399, 400, 1500])
def test_repetitions_are_counted_as_they_are_sent(sent):
    stream = EventStream(seed=1, repeat_after=250)
    ids = Counter(stream.take(sent, now=NOW)["id"].tolist())
    assert stream.count_repeats(sent) == sent - len(ids)


@pytest.mark.parametrize("repeat_after", [100, 199, 300])
def test_a_repetition_of_a_repetition_is_refused(repeat_after):
    with pytest.raises(ValueError, match=f"{repeat_after} events later"):
        EventStream(seed=1, repeat_after=repeat_after)


def test_what_is_posted_is_what_the_gateway_reads():
    rows = EventStream(seed=1, repeat_after=50).take(300, now=NOW)
    body = f"[{','.join(encode_events(rows))}]".encode()
    events = parse_items(body, is_ndjson=False, max_events=1000, explain_max_values=100_000)
    assert [event.event_id.bytes for event in events] == [event_id.ljust(16, b"\0") for event_id in rows["id"].tolist()]
    assert {event.occurred_at for event in events} == {NOW}
    assert {event.event_id.version for event in events} == {7}
    assert [event.video_id for event in events] == [f"video-{number:06d}" for number in rows["video"].tolist()]
    assert [(event.event_type == "watch_time") for event in events] == [event.value is not None for event in events]
    assert [round((event.value or 0) * 1000) for event in events] == rows["value"].tolist()


@pytest.mark.parametrize("batch_size", [None, 1, 30])
def test_posts_are_whole_requests_of_the_same_events(batch_size):
    stream = EventStream(seed=1, repeat_after=50)
    posts = build_posts(stream, host="127.0.0.1:1", path="/events", batch_size=batch_size, token="vc_x")
    ids = []
    for post in islice(posts, 60 // (batch_size or 1)):
        head, _, body = post.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /events HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
        assert b"\r\nAuthorization: Bearer vc_x\r\n" in head
        assert head.endswith(b"Content-Length: %d" % len(body))
        decoded = msgspec.json.decode(body)
        assert isinstance(decoded, dict if batch_size is None else list)
        ids += [event["event_id"] for event in ([decoded] if batch_size is None else decoded)]
    assert len(set(ids)) == len(ids) == 60


def test_columns_name_only_the_videos_that_occur():
    rows = EventStream(seed=1, repeat_after=50).take(40, now=NOW)
    columns = build_columns(rows, received_us=7)
    assert set(columns.videos) == {f"video-{number:06d}" for number in rows["video"].tolist()}
    assert [columns.videos[index] for index in columns.video_index.tolist()] == [
        f"video-{number:06d}" for number in rows["video"].tolist()
    ]
    assert set(columns.received_us.tolist()) == {7}

"""The correct counts of a replay equal an independent count of the bytes that it sends."""

from collections import Counter
from datetime import datetime

import msgspec
import numpy as np
import pytest

from devtools.replay.bad_events import create_spoilers
from devtools.replay.batches import build_batches, plan_stream
from devtools.replay.timeline import EVENT_TYPES
from devtools.replay.truth import choose_videos, count_events, count_events_by_hour, get_hours
from tests.unit.devtools.replay.conftest import NOW

BATCH_EVENTS = 10
SPOILERS = create_spoilers(sent_at=NOW, accept_window_seconds=7 * 86400, accept_future_seconds=300, sending_seconds=900)


@pytest.fixture
def stream(timeline, rng):
    return plan_stream(len(timeline), duplicate_share=0.1, bad_share=0.05, batch_events=BATCH_EVENTS, rng=rng)


@pytest.fixture
def batches(stream, timeline, rng):
    return list(build_batches(stream, timeline=timeline, batch_events=BATCH_EVENTS, spoilers=SPOILERS, rng=rng))


def decode_good_events(batches):
    """Every valid item of every batch, decoded from JSON like in the service."""
    for batch in batches:
        items = msgspec.json.decode(msgspec.json.encode(batch.items))
        yield from (item for place, item in enumerate(items) if place not in batch.bad)


def test_truth_equals_a_count_of_the_distinct_good_events_sent(timeline, batches):
    distinct = {event["event_id"]: event for event in decode_good_events(batches)}
    counted = Counter((event["video_id"], event["event_type"]) for event in distinct.values())
    truth = count_events(timeline)
    cells = [(video, kind) for video in range(len(timeline.videos)) for kind in range(len(EVENT_TYPES))]
    assert {(timeline.videos[v], EVENT_TYPES[k]): truth[v, k] for v, k in cells if truth[v, k]} == counted
    assert truth.sum() == len(timeline) == 535


def test_truth_by_hour_equals_a_count_of_the_distinct_good_events_sent(timeline, batches):
    distinct = {event["event_id"]: event for event in decode_good_events(batches)}
    counted = Counter(
        (event["video_id"], event["event_type"], int(datetime.fromisoformat(event["occurred_at"]).timestamp()) // 3600)
        for event in distinct.values()
    )
    hours = get_hours(timeline)
    truth = count_events_by_hour(timeline, videos=np.arange(len(timeline.videos)))
    assert truth.shape == (2, 4, 5)
    assert {
        (timeline.videos[video], EVENT_TYPES[kind], hours[hour]): truth[video, kind, hour]
        for video, kind, hour in np.argwhere(truth)
    } == counted


def test_truth_by_hour_of_some_videos_is_that_of_those_videos(timeline):
    both = count_events_by_hour(timeline, videos=np.array([0, 1]))
    assert count_events_by_hour(timeline, videos=np.array([1])).tolist() == both[1:].tolist()


def test_chosen_videos_are_distinct_and_the_busiest_is_among_them(timeline):
    assert choose_videos(timeline, count=1, seed=1).tolist() == [0]
    assert choose_videos(timeline, count=50, seed=1).tolist() == [0, 1]


def test_every_event_is_sent_and_the_share_asked_for_is_sent_twice(timeline, stream, batches):
    sent = Counter(event["event_id"] for event in decode_good_events(batches))
    assert len(sent) == len(timeline)
    assert Counter(sent.values()) == {1: 482, 2: 53}
    assert stream.is_duplicate.sum() == 53


def test_a_duplicate_stands_in_a_later_batch_with_the_same_content(batches):
    originals: dict[str, tuple[int, dict]] = {}
    duplicates = 0
    for number, batch in enumerate(batches):
        for event in decode_good_events([batch]):
            if event["event_id"] not in originals:
                originals[event["event_id"]] = (number, event)
                continue
            duplicates += 1
            assert originals[event["event_id"]][0] < number
            assert originals[event["event_id"]][1] == event
    assert duplicates == 53


def test_good_events_are_sent_in_the_order_in_which_they_occurred(batches):
    times = {event["event_id"]: event["occurred_at"] for event in decode_good_events(batches)}
    assert list(times.values()) == sorted(times.values())


def test_bad_events_take_turns_and_have_ids_of_their_own(timeline, stream, batches):
    kinds = [kind for batch in batches for kind in batch.bad.values()]
    assert kinds == list(SPOILERS) + list(SPOILERS)[: 26 - len(SPOILERS)]
    good = {event["event_id"] for event in decode_good_events(batches)}
    bad = [batch.items[place] for batch in batches for place in batch.bad]
    assert not {item.get("event_id") for item in bad if isinstance(item, dict)} & good


def test_no_batch_is_larger_than_asked_for(stream, batches):
    assert max(len(batch.items) for batch in batches) == BATCH_EVENTS
    assert sum(len(batch.items) for batch in batches) == len(stream) == 535 + 53 + 26


def test_a_run_of_one_event_still_sends_it_twice_in_two_batches(timeline, rng):
    stream = plan_stream(1, duplicate_share=0.01, bad_share=0, batch_events=BATCH_EVENTS, rng=rng)
    batches = list(build_batches(stream, timeline=timeline, batch_events=BATCH_EVENTS, spoilers=SPOILERS, rng=rng))
    assert [len(batch.items) for batch in batches] == [1, 1]
    assert batches[0].items == batches[1].items


def test_every_event_may_be_sent_twice(timeline, rng):
    stream = plan_stream(len(timeline), duplicate_share=1, bad_share=0, batch_events=BATCH_EVENTS, rng=rng)
    batches = list(build_batches(stream, timeline=timeline, batch_events=BATCH_EVENTS, spoilers=SPOILERS, rng=rng))
    assert Counter(Counter(event["event_id"] for event in decode_good_events(batches)).values()) == {2: 535}

from collections import Counter
from uuid import RFC_4122, UUID

import numpy as np
import pytest

from devtools.replay.batches import format_uuids
from devtools.replay.dataset import COUNT_COLUMNS, read_dataset
from devtools.replay.errors import BadReplayOption
from devtools.replay.nonce import Nonce
from devtools.replay.timeline import (
    EVENT_TYPES,
    TimelinePlan,
    check_fits_window,
    compute_growth,
    create_version_7_ids,
    plan_timeline,
)
from viewcounter.events.columns import Columns

HOUR_MS = 3_600_000
PLAN = TimelinePlan(scale=10_000, day_length_seconds=3600, seed=2017)


def count_cells(timeline):
    return Counter(
        (timeline.videos[video], EVENT_TYPES[kind])
        for video, kind in zip(timeline.video_index, timeline.type_index, strict=True)
    )


def test_growth_is_the_rise_over_the_highest_count_seen(dataset):
    growth = compute_growth(dataset, videos=("a", "b"), scale=100)
    views, likes, dislikes, comments = range(4)
    assert growth.shape == (2, 4, 4)
    assert growth[0, :, views].tolist() == [19, 6, 0, 15]
    assert growth[0, :, likes].tolist() == [1, 0, 0, 1]
    assert growth[0, :, dislikes].tolist() == [0, 0, 0, 1]
    assert growth[0, :, comments].tolist() == [0, 3, 0, 0]
    assert growth[1, :, views].tolist() == [0, 0, 0, 7]


def test_events_of_the_sample_add_up_to_its_highest_counts(nonce):
    dataset = read_dataset()
    timeline = plan_timeline(dataset, plan=PLAN, nonce=nonce)
    highest: Counter[tuple[str, str]] = Counter()
    for row in dataset.rows:
        for column, event_type in enumerate(EVENT_TYPES):
            cell = (row.video_id, event_type)
            highest[cell] = max(highest[cell], row.counts[column] // PLAN.scale)
    assert len(COUNT_COLUMNS) == len(EVENT_TYPES)
    assert count_cells(timeline) == +highest
    assert len(timeline) == 226_752


def test_events_lie_in_their_data_day_and_the_last_day_ends_at_the_nonce(timeline, dataset, nonce):
    assert timeline.end_ms == nonce.end_ms
    assert timeline.start_ms == nonce.end_ms - 4 * HOUR_MS
    days = (timeline.occurred_ms - timeline.start_ms) // HOUR_MS
    growth = compute_growth(dataset, videos=timeline.videos, scale=10)
    counted = np.zeros_like(growth)
    np.add.at(counted, (timeline.video_index, days, timeline.type_index), 1)
    assert counted.tolist() == growth.tolist()


def test_events_ascend_by_time(timeline):
    assert (np.diff(timeline.occurred_ms) >= 0).all()


def test_same_nonce_and_seed_give_the_same_events(dataset, nonce, timeline):
    again = plan_timeline(dataset, plan=TimelinePlan(10, 3600, seed=1), nonce=nonce)
    for name in ("video_index", "type_index", "occurred_ms", "id_words"):
        assert getattr(again, name).tobytes() == getattr(timeline, name).tobytes()


@pytest.mark.parametrize(("seed", "salt"), [(2, 7), (1, 8)])
def test_another_seed_or_nonce_shares_no_event_id(dataset, nonce, timeline, seed, salt):
    other = plan_timeline(dataset, plan=TimelinePlan(10, 3600, seed=seed), nonce=Nonce(nonce.end_ms, salt))
    assert len(other) == len(timeline)
    assert not set(format_uuids(other.id_words)) & set(format_uuids(timeline.id_words))


def test_ids_are_distinct_uuids_of_version_7_whose_time_is_the_events(timeline):
    ids = [UUID(text) for text in format_uuids(timeline.id_words)]
    assert len(set(ids)) == len(timeline)
    assert {(uuid.version, uuid.variant) for uuid in ids} == {(7, RFC_4122)}
    assert [uuid.int >> 80 for uuid in ids] == timeline.occurred_ms.tolist()


def test_ids_are_stored_under_the_minute_in_which_the_event_is_counted(timeline):
    count = len(timeline)
    columns = Columns(
        event_ids=np.frombuffer(timeline.id_words.astype(">u8").tobytes(), dtype="S16"),
        occurred_us=timeline.occurred_ms * 1000,
        received_us=np.zeros(count, dtype=np.int64),
        type_ids=np.ones(count, dtype=np.uint16),
        values=np.zeros(count, dtype=np.int64),
        video_index=timeline.video_index.astype(np.uint32),
        viewers=np.zeros(count, dtype=np.int64),
        videos=timeline.videos,
    )
    assert columns.id_minutes().tolist() == columns.minutes().tolist()


def test_ids_of_no_events_are_no_ids(rng):
    assert create_version_7_ids(np.array([], dtype=np.int64), rng=rng).shape == (0, 2)


def test_limited_events_are_the_first_ones(dataset, nonce, timeline):
    few = plan_timeline(dataset, plan=TimelinePlan(10, 3600, seed=1, max_events=5), nonce=nonce)
    assert few.occurred_ms.tolist() == timeline.occurred_ms[:5].tolist()


def test_days_that_fit_the_accept_window_pass():
    check_fits_window(PLAN, day_count=40, accept_window_seconds=40 * 3600 + 900, sent_after_seconds=900)


def test_days_that_would_be_too_old_when_sent_are_refused():
    with pytest.raises(BadReplayOption, match="the longest day length is 3599 s"):
        check_fits_window(PLAN, day_count=40, accept_window_seconds=40 * 3600 + 899, sent_after_seconds=900)

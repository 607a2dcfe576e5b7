from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from devtools.bench.event_stream import VIDEOS
from devtools.bench.history import DAY_MINUTES, HOUR_MINUTES, Horizons, Rows, make_history
from viewcounter.events.partition import get_partition

NOW = datetime(2026, 11, 26, 15, 7, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def history():
    return make_history(event_count=30_000, partition_count=8, now=NOW, seed=1)


def number(instant):
    return int((instant - EPOCH).total_seconds()) // 60


def add_up(rows, width=None):
    """By partition, video, type and bucket: count, sum, min, max."""
    found = {}
    starts = rows.starts // width * width if width else np.zeros_like(rows.starts)
    columns = (rows.partitions, rows.videos, rows.types, starts, rows.counts, rows.sums, rows.mins, rows.maxs)
    for *key, count, total, low, high in zip(*(column.tolist() for column in columns), strict=True):
        before = found.get(tuple(key), (0, 0, low, high))
        found[tuple(key)] = (before[0] + count, before[1] + total, min(before[2], low), max(before[3], high))
    return found


def test_horizons_are_those_of_the_defaults():
    assert Horizons.at(NOW) == Horizons(
        watermark=NOW,
        rolled_through=datetime(2026, 11, 26, 15, tzinfo=UTC),
        admits_since=datetime(2026, 11, 19, 15, 7, tzinfo=UTC),
        minutes_since=datetime(2026, 11, 18, 15, tzinfo=UTC),
        hours_since=datetime(2026, 8, 28, tzinfo=UTC),
    )
    assert Horizons.at(NOW.replace(minute=4)).rolled_through == datetime(2026, 11, 26, 14, tzinfo=UTC)


def test_totals_are_of_all_events(history):
    assert history.totals.counts.sum() == history.event_count == 30_000
    assert history.since == datetime(2025, 11, 26, tzinfo=UTC)


def test_every_video_is_in_its_own_partition(history):
    for rows in (history.totals, history.days, history.hours, history.minutes):
        videos = {*zip(rows.videos.tolist(), rows.partitions.tolist(), strict=True)}
        assert all(get_partition(VIDEOS[video], partition_count=8) == partition for video, partition in videos)


def test_each_tier_equals_the_one_below_where_both_are(history):
    rolled = number(history.horizons.rolled_through)
    today = rolled // DAY_MINUTES * DAY_MINUTES
    whole_hours = history.minutes.select(history.minutes.starts < rolled)
    since = number(history.horizons.minutes_since)
    assert add_up(whole_hours, HOUR_MINUTES) == add_up(
        history.hours.select(history.hours.starts >= since), HOUR_MINUTES
    )
    since = number(history.horizons.hours_since)
    whole_days = history.hours.select(history.hours.starts < today)
    assert add_up(whole_days, DAY_MINUTES) == add_up(history.days.select(history.days.starts >= since), DAY_MINUTES)


def test_days_and_what_is_not_rolled_into_them_yet_are_the_totals(history):
    rolled = number(history.horizons.rolled_through)
    today = rolled // DAY_MINUTES * DAY_MINUTES
    parts = (
        history.days,
        history.hours.select(history.hours.starts >= today),
        history.minutes.select(history.minutes.starts >= rolled),
    )
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__slots__]
    assert add_up(Rows(*columns)) == add_up(history.totals)


def test_the_history_keeps_nothing_that_retention_would_have_deleted(history):
    horizons = history.horizons
    assert history.minutes.starts.min() >= number(horizons.minutes_since)
    assert history.minutes.starts.max() < number(NOW)
    assert history.hours.starts.min() >= number(horizons.hours_since)
    assert history.hours.starts.max() + HOUR_MINUTES <= number(horizons.rolled_through)
    assert history.days.starts.min() >= number(history.since)
    assert history.days.starts.max() + DAY_MINUTES == number(NOW.replace(hour=0, minute=0))


def test_rows_have_one_key_each_and_are_in_order(history):
    for rows in (history.totals, history.days, history.hours, history.minutes):
        columns = (rows.partitions, rows.videos, rows.types, rows.starts)
        keys = [*zip(*(column.tolist() for column in columns), strict=True)]
        assert keys == sorted(set(keys))


def test_the_same_seed_gives_the_same(history):
    again = make_history(event_count=30_000, partition_count=8, now=NOW, seed=1)
    other = make_history(event_count=30_000, partition_count=8, now=NOW + timedelta(minutes=1), seed=2)
    assert add_up(again.days) == add_up(history.days) != add_up(other.days)

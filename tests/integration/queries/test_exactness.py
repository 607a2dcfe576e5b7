"""Every answer equals what brute force says of the single values behind it."""

import random
from collections import defaultdict
from datetime import timedelta

import pytest

from tests.integration.queries.rows import (
    DAY,
    WATERMARK,
    compute,
    find_videos_by_shard,
    make_rows,
    store_rows,
)
from tests.unit.queries.wall_clock import find_bucket_start
from viewcounter.queries.counts import VideoCounts, get_counts, get_counts_of_videos
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Function
from viewcounter.queries.meta import Meta, Source
from viewcounter.queries.periods import Bucket, Fill
from viewcounter.queries.ranges import ALL_TIME, Interval, Period
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget
from viewcounter.queries.top import TopItem, TopQuery, get_top

NOW = WATERMARK + timedelta(seconds=5)
ZEROS = {"view": 0, "like": 0, "dislike": 0, "comment": 0, "share": 0, "watch_time": 0}
TYPE_IDS = {"view": 1, "watch_time": 6}
TITLES = {"v0": "The “first” one 🎬", "v3": "Third"}


@pytest.fixture
def stored(clean_cluster):
    videos = [v for own in find_videos_by_shard(clean_cluster, per_shard=6).values() for v in own]
    rows = make_rows(seed=11, videos=videos)
    store_rows(clean_cluster, rows, titles=TITLES)
    return clean_cluster, videos, rows


def values_of(rows, *, video_id, event_type, period=ALL_TIME):
    return [
        value
        for row in rows
        if (row.video_id, row.type_id) == (video_id, TYPE_IDS[event_type])
        and (period.start is None or row.start >= period.start)
        and (period.end is None or row.start < period.end)
        for value in row.values
    ]


def meta_of(source):
    return Meta(complete_until=WATERMARK, as_of=NOW, sources=(source,))


def test_counts_of_one_video_name_every_type_and_a_video_never_seen_has_zeros(stored):
    cluster, videos, rows = stored
    for video_id in videos:
        counts = {name: len(values_of(rows, video_id=video_id, event_type=name)) for name in TYPE_IDS}
        answer = get_counts(cluster, video_id=video_id, now=NOW)
        assert answer.video == VideoCounts(video_id, True, ZEROS | counts)
        assert answer.meta == meta_of(Source.TOTAL)
    assert get_counts(cluster, video_id="never-seen", now=NOW).video == VideoCounts("never-seen", False, ZEROS)


def test_counts_of_many_videos_come_in_the_order_asked_each_once(stored):
    cluster, videos, rows = stored
    asked = [*random.Random(1).sample(videos, len(videos)), "never-seen", videos[0]]
    answer = get_counts_of_videos(cluster, video_ids=asked, max_videos=500, now=NOW)
    assert answer.meta == meta_of(Source.TOTAL)
    assert [video.video_id for video in answer.videos] == asked[:-1]
    for video in answer.videos:
        counts = {name: len(values_of(rows, video_id=video.video_id, event_type=name)) for name in TYPE_IDS}
        assert video.counts == ZEROS | counts


@pytest.mark.parametrize("count", [0, 501])
def test_a_list_of_none_or_too_many_videos_is_refused(clean_cluster, count):
    with pytest.raises(InvalidQuery) as caught:
        get_counts_of_videos(clean_cluster, video_ids=["a"] * count, max_videos=500, now=NOW)
    assert (caught.value.field, caught.value.code) == ("video_ids", "invalid_length")


@pytest.mark.parametrize("function", Function)
def test_every_function_over_all_time_and_over_random_periods_is_exact(stored, function):
    cluster, videos, rows = stored
    rng = random.Random(function.value)
    for _ in range(40):
        video_id, event_type = rng.choice(videos), rng.choice(list(TYPE_IDS))
        edges = [
            rng.choice([None, DAY + timedelta(minutes=rng.randint(-10, 1500))]),
            rng.choice([None, DAY + timedelta(minutes=rng.randint(1500, 3010))]),
        ]
        period = Period(start=edges[0], end=edges[1])
        question = StatsQuery(
            target=StatsTarget.video(video_id), event_type=event_type, function=function, period=period
        )
        answer = get_stats(cluster, question, max_buckets=1500, now=NOW)
        values = values_of(rows, video_id=video_id, event_type=event_type, period=period)
        assert answer.value == compute(function, values)
        assert answer.series is None
        assert answer.meta == meta_of(Source.TOTAL if period.is_all_time else Source.MINUTE)


@pytest.mark.parametrize("interval", Interval)
@pytest.mark.parametrize("function", Function)
def test_every_bucket_of_a_series_is_exact_and_the_value_covers_them_all(stored, function, interval):
    cluster, videos, rows = stored
    rng = random.Random(f"{function}{interval}")
    for fill in (Fill.NONE, Fill.ZERO):
        video_id, event_type = rng.choice(videos), rng.choice(list(TYPE_IDS))
        start = DAY + timedelta(minutes=rng.randint(0, 1500))
        period = Period(start=start, end=start + timedelta(minutes=rng.randint(1000, 1500)))
        question = StatsQuery(
            target=StatsTarget.video(video_id),
            event_type=event_type,
            function=function,
            period=period,
            interval=interval,
            fill=fill,
        )
        answer = get_stats(cluster, question, max_buckets=1500, now=NOW)
        buckets = defaultdict(list)
        for row in rows:
            if (row.video_id, row.type_id) == (
                video_id,
                TYPE_IDS[event_type],
            ) and period.start <= row.start < period.end:
                buckets[find_bucket_start(row.start, interval, "UTC")].extend(row.values)
        minutes = (
            period.start + timedelta(minutes=m) for m in range((period.end - period.start) // timedelta(minutes=1))
        )
        all_starts = {find_bucket_start(minute, interval, "UTC") for minute in minutes}
        starts = sorted(buckets if fill is Fill.NONE else all_starts)
        assert answer.series == tuple(Bucket(start, compute(function, buckets.get(start, []))) for start in starts)
        assert answer.value == compute(
            function, values_of(rows, video_id=video_id, event_type=event_type, period=period)
        )
        assert answer.meta == meta_of(Source.MINUTE)


def test_an_empty_period_has_an_empty_series_and_nothing_in_it(stored):
    cluster, videos, _ = stored
    for function, nothing in (("count", 0), ("sum", 0), ("average", None), ("min", None), ("max", None)):
        question = StatsQuery(
            target=StatsTarget.video(videos[0]),
            event_type="view",
            function=Function(function),
            period=Period(DAY, DAY),
            interval=Interval.HOUR,
            fill=Fill.ZERO,
        )
        answer = get_stats(cluster, question, max_buckets=1500, now=NOW)
        assert (answer.value, answer.series) == (nothing, ())


@pytest.mark.parametrize("period", [ALL_TIME, Period(DAY + timedelta(minutes=7), DAY + timedelta(hours=20))])
@pytest.mark.parametrize("function", Function)
def test_top_over_all_shards_equals_sorting_everything_and_has_titles(stored, function, period):
    cluster, videos, rows = stored
    for event_type, limit in (("view", 500), ("watch_time", 5), ("view", 1)):
        ranked = []
        for video_id in videos:
            values = values_of(rows, video_id=video_id, event_type=event_type, period=period)
            if values:
                ranked.append((compute(function, values), video_id))
        ranked.sort(key=lambda item: (-item[0], item[1]))
        question = TopQuery(event_type=event_type, function=function, period=period, limit=limit)
        answer = get_top(cluster, question, max_limit=500, now=NOW)
        assert answer.items == tuple(
            TopItem(video_id=video_id, title=TITLES.get(video_id), value=value) for value, video_id in ranked[:limit]
        )
        assert answer.meta == meta_of(Source.TOTAL if period.is_all_time else Source.MINUTE)


def test_top_of_a_type_without_events_is_empty_and_still_complete(stored):
    question = TopQuery(event_type="share", function=Function.COUNT, period=ALL_TIME, limit=10)
    answer = get_top(stored[0], question, max_limit=500, now=NOW)
    assert (answer.items, answer.meta) == ((), meta_of(Source.TOTAL))


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_limit_out_of_bounds_is_refused(clean_cluster, limit):
    question = TopQuery(event_type="view", function=Function.COUNT, period=ALL_TIME, limit=limit)
    with pytest.raises(InvalidQuery) as caught:
        get_top(clean_cluster, question, max_limit=500, now=NOW)
    assert (caught.value.field, caught.value.code) == ("limit", "out_of_bounds")


def test_an_unknown_event_type_is_refused_with_the_ones_there_are(clean_cluster):
    question = StatsQuery(target=StatsTarget.video("a"), event_type="wiev", function=Function.COUNT, period=ALL_TIME)
    with pytest.raises(InvalidQuery) as caught:
        get_stats(clean_cluster, question, max_buckets=1500, now=NOW)
    assert (caught.value.field, caught.value.code) == ("event_type", "unknown_event_type")
    assert caught.value.message == "must be one of: view, like, dislike, comment, share, watch_time"

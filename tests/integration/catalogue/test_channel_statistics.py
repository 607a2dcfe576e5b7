"""A channel's figures equal brute force over its videos on all shards, whatever moved, rolled or died."""

from datetime import timedelta

import pytest

from tests.integration.catalogue.state import read_cursors
from tests.integration.queries.rows import (
    DAY,
    WATERMARK,
    await_replicas,
    compute,
    find_videos_by_shard,
    make_rows,
    store_rows,
)
from viewcounter.catalogue.changes import ChannelEntry, VideoEntry, put_catalogue, put_video
from viewcounter.catalogue.sync import sync_catalogue
from viewcounter.events.partition import get_partition
from viewcounter.queries.counts import get_channel_counts
from viewcounter.queries.functions import Function
from viewcounter.queries.meta import Source
from viewcounter.queries.periods import Bucket, Fill
from viewcounter.queries.ranges import ALL_TIME, Interval, Period, floor_to
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget

NOW = WATERMARK + timedelta(seconds=5)
PERIODS = [
    ALL_TIME,
    Period(DAY + timedelta(minutes=17), DAY + timedelta(minutes=2950)),
    Period(None, DAY + timedelta(hours=30)),
    Period(DAY + timedelta(hours=5), None),
    Period(DAY, DAY),
]

ROLLS = (
    """
    INSERT INTO event_hour SELECT partition, video_id, event_type_id, date_trunc('hour', start, 'UTC'),
        sum(count), sum(sum), min(min), max(max)
    FROM event_minute WHERE date_trunc('hour', start, 'UTC') + '1 hour' <= %s GROUP BY 1, 2, 3, 4
    """,
    """
    INSERT INTO event_day SELECT partition, video_id, event_type_id, date_trunc('day', start, 'UTC'),
        sum(count), sum(sum), min(min), max(max)
    FROM event_hour WHERE date_trunc('day', start, 'UTC') + '1 day' <= %s GROUP BY 1, 2, 3, 4
    """,
)


def sync_all(cluster):
    while sync_catalogue(cluster, batch=1000):
        pass
    await_replicas(cluster)


@pytest.fixture
def stored(empty_catalogue):
    """Six videos a shard: two of channel `a`, two of `b`, one of none, one that the catalogue does not know."""
    videos = find_videos_by_shard(empty_catalogue, per_shard=6)
    rows = make_rows(seed=29, videos=[v for own in videos.values() for v in own])
    store_rows(empty_catalogue, rows)
    channels = {v: "aabb."[i] for own in videos.values() for i, v in enumerate(own[:5])}
    put_catalogue(
        channels=[ChannelEntry("a", "A"), ChannelEntry("b", "B"), ChannelEntry("empty", "Nothing")],
        videos=[VideoEntry(v, v, None if c == "." else c) for v, c in channels.items()],
    )
    sync_all(empty_catalogue)
    return empty_catalogue, rows, channels


def roll(cluster, *, through):
    """Hours and days as rollups make them."""
    for shard in cluster.topology.shards:
        with cluster.shard_transaction(shard.id) as connection:
            for statement in ROLLS:
                connection.execute(statement, (through,))
            connection.execute("UPDATE partition_state SET rolled_through = %s", (through,))
    await_replicas(cluster)


def make_hours_dirty(cluster, video_id):
    """Wrong hours of one video, marked as wrong: what late events leave until the next rollup."""
    with cluster.transaction(get_partition(video_id, partition_count=cluster.topology.partition_count)) as connection:
        connection.execute("UPDATE event_hour SET count = count + 1000, max = 10 ^ 15 WHERE video_id = %s", (video_id,))
        for tier in ("hour", "day"):
            connection.execute(
                "INSERT INTO rollup_dirty SELECT DISTINCT partition, %(tier)s, video_id, event_type_id,"
                " date_trunc(%(tier)s, start, 'UTC') FROM event_minute WHERE video_id = %(video_id)s",
                {"tier": tier, "video_id": video_id},
            )
    await_replicas(cluster)


def values_of(rows, channels, *, channel, type_id, period=ALL_TIME):
    return [
        (row.start, value)
        for row in rows
        if channels.get(row.video_id) == channel
        and row.type_id == type_id
        and (period.start is None or row.start >= period.start)
        and (period.end is None or row.start < period.end)
        for value in row.values
    ]


def assert_exact(cluster, rows, channels, *, channel="a"):
    counts = get_channel_counts(cluster, channel_id=channel, now=NOW).counts
    assert counts["view"] == len(values_of(rows, channels, channel=channel, type_id=1))
    assert counts["watch_time"] == len(values_of(rows, channels, channel=channel, type_id=6))
    for period in PERIODS:
        expected = [v for _, v in values_of(rows, channels, channel=channel, type_id=6, period=period)]
        for function in Function:
            question = StatsQuery(StatsTarget.channel(channel), "watch_time", function, period)
            answer = get_stats(cluster, question, max_buckets=1500, now=NOW)
            assert answer.value == compute(function, expected), (function, period)
            assert (answer.meta.partial, answer.meta.complete_until) == (False, WATERMARK)


@pytest.mark.parametrize("channel", ["a", "b", "empty", "unknown"])
def test_counts_and_every_function_of_a_channel_are_those_of_all_its_videos(stored, channel):
    assert_exact(*stored, channel=channel)


def test_rolled_and_dirty_buckets_change_nothing(stored):
    cluster, rows, channels = stored
    roll(cluster, through=DAY + timedelta(hours=40))
    assert_exact(cluster, rows, channels)
    for video_id in [v for v, channel in channels.items() if channel == "a"][::2]:
        make_hours_dirty(cluster, video_id)
    assert_exact(cluster, rows, channels)
    question = StatsQuery(StatsTarget.channel("a"), "view", Function.COUNT, Period(DAY, DAY + timedelta(hours=36)))
    sources = get_stats(cluster, question, max_buckets=10, now=NOW).meta.sources
    assert sources == (Source.DAY, Source.HOUR, Source.MINUTE)


def test_a_series_has_the_buckets_of_all_shards_merged(stored):
    cluster, rows, channels = stored
    period = Period(DAY + timedelta(minutes=30), DAY + timedelta(hours=47))
    question = StatsQuery(
        StatsTarget.channel("a"), "view", Function.SUM, period, interval=Interval.HOUR, fill=Fill.NONE
    )
    by_hour = {}
    for start, value in values_of(rows, channels, channel="a", type_id=1, period=period):
        by_hour.setdefault(floor_to(start, timedelta(hours=1)), []).append(value)
    expected = tuple(Bucket(hour, compute(Function.SUM, values)) for hour, values in sorted(by_hour.items()))
    assert get_stats(cluster, question, max_buckets=1500, now=NOW).series == expected


def test_a_video_that_changes_its_channel_takes_its_whole_past_along(stored):
    cluster, rows, channels = stored
    moved = next(v for v, channel in channels.items() if channel == "a")
    newest = max(*read_cursors(cluster).values()).pop()
    before = get_channel_counts(cluster, channel_id="b", now=NOW)
    assert before.catalogue_revision == newest
    put_video(VideoEntry(moved, "Moved", "b"))
    assert get_channel_counts(cluster, channel_id="b", now=NOW).catalogue_revision == newest
    sync_all(cluster)
    moved_channels = channels | {moved: "b"}
    assert get_channel_counts(cluster, channel_id="b", now=NOW).catalogue_revision == newest + 1
    for channel in "ab":
        assert_exact(cluster, rows, moved_channels, channel=channel)


def test_a_dead_shard_is_named_and_its_videos_are_left_out_not_counted_as_zero(stored, servers):
    cluster, rows, channels = stored
    dead = cluster.topology.shards[-1]
    left = {
        v: c
        for v, c in channels.items()
        if cluster.topology.get_shard_of(get_partition(v, partition_count=cluster.topology.partition_count)) != dead
    }
    question = StatsQuery(StatsTarget.channel("a"), "view", Function.COUNT, PERIODS[1])
    instances = [servers.database(instance.name) for instance in dead.instances]
    for instance in instances:
        instance.kill()
    try:
        counts = get_channel_counts(cluster, channel_id="a", now=NOW)
        stats = get_stats(cluster, question, max_buckets=10, now=NOW)
    finally:
        for instance in instances:
            instance.start()
        for instance in instances:
            instance.wait_ready()
        await_replicas(cluster)
    assert counts.counts["view"] == len(values_of(rows, left, channel="a", type_id=1))
    assert stats.value == len(values_of(rows, left, channel="a", type_id=1, period=PERIODS[1]))
    for meta in (counts.meta, stats.meta):
        assert (meta.partial, meta.missing, meta.complete_until) == (True, (dead.name,), WATERMARK)
    assert_exact(cluster, rows, channels)


def test_an_answer_is_complete_until_the_oldest_watermark_of_all_partitions(stored):
    cluster, *_ = stored
    earlier = WATERMARK - timedelta(hours=3)
    await_replicas(cluster, watermarks={7: earlier})
    assert get_channel_counts(cluster, channel_id="a", now=NOW).meta.complete_until == earlier

"""Days of any zone, long after their hours and minutes are gone, equal brute force over the events in them."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.processing.rolling import PARTITION, Event, Rolling
from tests.integration.queries.rows import await_replicas, compute
from tests.unit.queries.wall_clock import find_bucket_start
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Function
from viewcounter.queries.meta import Source
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget
from viewcounter.queries.top import TopQuery, get_top

BEGIN = datetime(2026, 3, 27, tzinfo=UTC)
"""In the days after, clocks change in Berlin, Lord Howe, Chatham and Adelaide."""
DAY = timedelta(days=1)
DAYS = 12
TYPES = {1: "view", 6: "watch_time"}
ZONES = (
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Adelaide",
    "Pacific/Chatham",
    "Australia/Lord_Howe",
    "Europe/Berlin",
)
END = BEGIN + DAYS * DAY
WATERMARK = END + timedelta(minutes=5)


@pytest.fixture
def rolling(clean_cluster, shard_connection):
    """Two videos of one channel, rolled; their hours and minutes are gone but for those of the last day."""
    rng = random.Random(7)
    numbers = range(1000)
    count = clean_cluster.topology.partition_count
    videos = [v for v in (f"v{n}" for n in numbers) if get_partition(v, partition_count=count) == PARTITION][:2]
    rolling = Rolling(clean_cluster, shard_connection)
    shard_connection.execute("INSERT INTO channel (channel_id) VALUES ('all')")
    for video in videos:
        shard_connection.execute("INSERT INTO video VALUES (%s, %s, 'all')", [video, PARTITION])
    events = [
        Event(rng.choice(videos), rng.choice([1, 6]), BEGIN + timedelta(minutes=minute), 0)
        for minute in rng.choices(range(DAYS * 1440), k=800)
    ]
    rolling.flush(
        [Event(e.video_id, e.type_id, e.minute, 1000 if e.type_id == 1 else rng.randrange(9000)) for e in events],
        watermark=WATERMARK,
    )
    rolling.roll()
    return rolling


def retain(rolling):
    rolling.retain(ids=DAY, minutes=DAY, hours=DAY)
    await_replicas(rolling.cluster, watermarks={PARTITION: WATERMARK})


def forget_quarters(rolling, *, before):
    rolling.connection.execute(
        "UPDATE event_day SET resolution = NULL, slots = NULL, counts = NULL, sums = NULL, mins = NULL, maxs = NULL"
        " WHERE start < %s",
        [before],
    )
    await_replicas(rolling.cluster, watermarks={PARTITION: WATERMARK})


def ask(rolling, target, event_type, function, zone, *, start=BEGIN, end=END, interval=Interval.DAY):
    question = StatsQuery(target, event_type, function, Period(start, end), interval, zone_name=zone)
    return get_stats(rolling.cluster, question, max_buckets=2000, now=END + DAY)


def expect(rolling, video_ids, type_id, function, zone, *, start=BEGIN, end=END, interval=Interval.DAY):
    buckets = defaultdict(list)
    for event in rolling.counted:
        if event.video_id in video_ids and event.type_id == type_id and start <= event.minute < end:
            buckets[find_bucket_start(event.minute, interval, zone)].append(event.value)
    return [(bucket, compute(function, values)) for bucket, values in sorted(buckets.items())]


@pytest.mark.parametrize("zone", ZONES)
def test_buckets_of_a_zone_are_exact_when_hours_and_minutes_are_gone(rolling, zone):
    retain(rolling)
    videos = sorted({event.video_id for event in rolling.counted})
    for function in Function:
        for type_id, event_type in TYPES.items():
            for target, video_ids in ((StatsTarget.video(videos[0]), videos[:1]), (StatsTarget.channel("all"), videos)):
                for interval in (Interval.QUARTER_HOUR, Interval.HALF_HOUR, Interval.HOUR, Interval.DAY, Interval.WEEK):
                    answer = ask(rolling, target, event_type, function, zone, interval=interval)
                    expected = expect(rolling, video_ids, type_id, function, zone, interval=interval)
                    assert [(b.start.astimezone(UTC), b.value) for b in answer.series] == expected
                    assert Source.DAY in answer.meta.sources


def test_top_lists_of_a_local_day_are_exact_when_hours_and_minutes_are_gone(rolling):
    retain(rolling)
    start = BEGIN + DAY + timedelta(hours=18, minutes=30)
    for length in (timedelta(minutes=15), timedelta(hours=3), DAY, 3 * DAY):
        for function in Function:
            values = defaultdict(list)
            for event in rolling.counted:
                if event.type_id == 6 and start <= event.minute < start + length:
                    values[event.video_id].append(event.value)
            ranked = [(compute(function, own), video) for video, own in values.items()]
            ranked.sort(key=lambda item: (-item[0], item[1]))
            question = TopQuery("watch_time", function, Period(start, start + length), 5)
            items = get_top(rolling.cluster, question, max_limit=5, now=END + DAY).items
            assert [(item.value, item.video_id) for item in items] == ranked


def test_days_of_an_earlier_release_are_read_from_hours_and_minutes(rolling):
    forget_quarters(rolling, before=END)
    for zone in ("Asia/Kathmandu", "Europe/Berlin"):
        answer = ask(rolling, StatsTarget.channel("all"), "watch_time", Function.MAX, zone)
        videos = {event.video_id for event in rolling.counted}
        expected = expect(rolling, videos, 6, Function.MAX, zone)
        assert [(b.start.astimezone(UTC), b.value) for b in answer.series] == expected
        assert Source.HOUR in answer.meta.sources


def test_days_that_were_kept_whole_or_by_hours_say_what_is_not_available(rolling):
    forget_quarters(rolling, before=BEGIN + 3 * DAY)
    retain(rolling)  # keeps the hours of these days as their parts
    forget_quarters(rolling, before=BEGIN + DAY)  # as if an earlier release had deleted its hours
    target = StatsTarget.channel("all")
    for zone, start, interval, day, field in (
        ("Asia/Kolkata", BEGIN, Interval.DAY, "2026-03-29", "tz"),
        ("Europe/Berlin", BEGIN, Interval.DAY, "2026-03-27", "tz"),
        ("UTC", BEGIN + DAY / 2, Interval.DAY, "2026-03-27", "start_time"),
        ("UTC", BEGIN + DAY, Interval.QUARTER_HOUR, "2026-03-29", "interval"),
    ):
        with pytest.raises(InvalidQuery, match=day) as caught:
            ask(rolling, target, "view", Function.COUNT, zone, start=start, interval=interval)
        assert (caught.value.field, caught.value.code) == (field, "not_available")
    videos = {event.video_id for event in rolling.counted}
    for zone, start in (("UTC", BEGIN), ("Europe/Berlin", BEGIN + DAY), ("Asia/Kolkata", BEGIN + 3 * DAY)):
        answer = ask(rolling, target, "view", Function.COUNT, zone, start=start)
        expected = expect(rolling, videos, 1, Function.COUNT, zone, start=start)
        assert [(b.start.astimezone(UTC), b.value) for b in answer.series] == expected


def test_minutes_within_a_quarter_hour_expire_with_their_day(rolling):
    retain(rolling)
    for start, interval, field in (
        (BEGIN + timedelta(minutes=7), None, "start_time"),
        (BEGIN, Interval.FIVE_MINUTES, "interval"),
    ):
        period = {"start": start, "end": BEGIN + DAY, "interval": interval}
        with pytest.raises(InvalidQuery) as caught:
            ask(rolling, StatsTarget.channel("all"), "view", Function.COUNT, "UTC", **period)
        assert (caught.value.field, caught.value.code) == (field, "resolution_expired")
    with pytest.raises(InvalidQuery) as caught:
        ask(rolling, StatsTarget.channel("all"), "view", Function.COUNT, "+05:17")
    assert (caught.value.field, caught.value.code) == ("tz", "resolution_expired")

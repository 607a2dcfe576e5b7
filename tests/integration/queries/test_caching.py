"""Answers that are kept, on real shards and a real cache server: the same as those that are not."""

import random
from contextlib import contextmanager
from datetime import timedelta

import pytest

from clusterproxy.errors import ShardUnavailable
from clusterproxy.plan import Consistency
from devtools.localcluster.waiting import Waiter
from shardproxy.query import Query, QueryClass
from tests.integration.processing.counted import HOUR, HOURS, PARTITION, count_events
from tests.integration.queries.caching import CountingCluster, await_shared, forget_shared, make_cache
from tests.integration.queries.rows import DAY, WATERMARK, MinuteRow, await_replicas, find_videos_by_shard, store_rows
from tests.pace import limit
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.interface import Position
from viewcounter.events.partition import get_partition
from viewcounter.maintenance.models import RecountJob
from viewcounter.maintenance.recount_jobs import create_partition_recount, run_recount
from viewcounter.queries.counts import (
    build_cached_counts,
    get_channel_counts,
    get_counts,
    get_counts_of_videos,
    peek_counts,
)
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.functions import Function
from viewcounter.queries.ranges import ALL_TIME, Interval, Period
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget
from viewcounter.queries.top import TopQuery, get_top
from viewcounter.storage.partitions import READ_STATES

NOW = WATERMARK + timedelta(seconds=5)
SOON = NOW + timedelta(seconds=0.9)
LATER = NOW + timedelta(hours=1)
MARK = Query("mark", "SELECT updated_at FROM partition_state WHERE partition = %(partition)s", QueryClass.POINT)
TOP = TopQuery(event_type="view", function=Function.COUNT, period=ALL_TIME, limit=10)


@pytest.fixture
def stored(clean_cluster, servers):
    """Two videos a shard, with one view each."""
    forget_shared(servers)
    videos = find_videos_by_shard(clean_cluster, per_shard=2)
    store_rows(clean_cluster, [MinuteRow(v, 1, DAY, (1000,)) for own in videos.values() for v in own])
    return CountingCluster(clean_cluster), [v for own in videos.values() for v in own]


def count_views(cluster, video_id, *, cache, now=NOW):
    return get_counts(cluster, video_id=video_id, now=now, cache=cache).video.counts["view"]


def test_a_video_is_asked_for_once_whether_alone_or_in_a_list_by_any_process(stored, servers):
    cluster, videos = stored
    one, other = make_cache(), make_cache()
    assert count_views(cluster, videos[0], cache=one) == 1
    assert cluster.take() == ["counts_of_video"]
    for cache, asked in ((one, ["counts_of_videos"]), (other, [])):
        listed = get_counts_of_videos(cluster, video_ids=videos, max_videos=500, now=SOON, cache=cache)
        assert {video.video_id: video.counts["view"] for video in listed.videos} == dict.fromkeys(videos, 1)
        assert cluster.take() == asked
        for video_id in videos:
            assert count_views(cluster, video_id, cache=cache, now=SOON) == 1
        assert cluster.take() == []
        await_shared(servers, len(videos))


def test_an_answer_says_when_its_oldest_part_was_read(stored):
    cluster, videos = stored
    cache = make_cache()
    count_views(cluster, videos[0], cache=cache)
    listed = get_counts_of_videos(cluster, video_ids=videos, max_videos=500, now=SOON, cache=cache)
    assert (listed.meta.as_of, listed.meta.stale, listed.meta.age_seconds) == (NOW, False, None)


def test_what_the_process_has_is_found_without_waiting_for_anything(stored):
    cluster, videos = stored
    cache = make_cache()
    assert peek_counts(videos[0], now=NOW, cache=cache) is None
    answer = get_counts(cluster, video_id=videos[0], now=NOW, cache=cache)
    cluster.take()
    kept = peek_counts(videos[0], now=SOON, cache=cache)
    assert build_cached_counts(cluster.topology, videos[0], kept, now=SOON) == answer
    assert peek_counts(videos[0], now=LATER, cache=cache) is None
    assert cluster.take() == []


def test_functions_of_one_period_share_what_was_read(stored):
    cluster, videos = stored
    cache = make_cache()
    for function in Function:
        for period, query in ((ALL_TIME, "total_of_video"), (Period(DAY, DAY + HOUR), "buckets_of_videos")):
            question = StatsQuery(StatsTarget.video(videos[0]), "view", function, period)
            kept = get_stats(cluster, question, max_buckets=10, now=NOW, cache=cache)
            assert kept == get_stats(cluster, question, max_buckets=10, now=NOW)
            assert cluster.take().count(query) == (2 if function is Function.COUNT else 1)


def test_periods_that_are_cut_otherwise_share_nothing(stored):
    cluster, videos = stored
    cache = make_cache()
    periods = [Period(DAY, DAY + HOUR), Period(DAY, DAY + 2 * HOUR), Period(DAY, None), Period(None, DAY)]
    for period in periods:
        for interval in (None, Interval.HOUR, Interval.DAY) if period.start and period.end else (None,):
            for zone in ("UTC", "Asia/Kathmandu") if interval else ("UTC",):
                question = StatsQuery(
                    StatsTarget.video(videos[0]), "view", Function.COUNT, period, interval, zone_name=zone
                )
                kept = get_stats(cluster, question, max_buckets=50, now=NOW, cache=cache)
                assert cluster.take() == ["buckets_of_videos"]
                assert kept == get_stats(cluster, question, max_buckets=50, now=NOW)
                cluster.take()


# -- demands ---------------------------------------------------------------------------------------


@pytest.fixture
def outdated(stored):
    """The first video was kept with one view; meanwhile it has got a second one, at a later position."""
    cluster, videos = stored
    cache = make_cache()
    partition = get_partition(videos[0], partition_count=cluster.topology.partition_count)
    before = get_position(cluster, partition)
    assert count_views(cluster, videos[0], cache=cache) == 1
    with cluster.transaction(partition) as connection:
        connection.execute("UPDATE event_total SET count = count + 1 WHERE video_id = %s", [videos[0]])
    await_replicas(cluster)
    after = get_position(cluster, partition)
    cluster.take()
    return cluster, videos[0], cache, (before, after)


def get_position(cluster, partition):
    rows = cluster.read(partition, READ_STATES, {"partitions": [partition]}).rows
    return Position.parse(rows[0]["position"])


def ask_with(outdated, now=SOON, **options):
    """Views, where they come from, and the queries that it took."""
    cluster, video_id, cache, _ = outdated
    options = ReadOptions(explains=True, **options)
    answer = get_counts(cluster, video_id=video_id, now=now, options=options, cache=cache)
    return answer.video.counts["view"], [route.cache for route in answer.meta.routes], cluster.take()


def test_a_kept_answer_is_given_to_whoever_it_will_do_for(outdated):
    before, after = outdated[-1]
    assert ask_with(outdated) == (1, ["process"], [])
    assert ask_with(outdated, min_position=before) == (1, ["process"], [])
    assert ask_with(outdated, max_staleness_seconds=10.0) == (1, ["process"], [])
    assert ask_with(outdated, min_position=after) == (2, ["miss"], ["counts_of_video"])
    assert ask_with(outdated) == (2, ["process"], [])  # and what the demanding reader got, all have


@pytest.mark.parametrize("consistency", [Consistency.STRONG, Consistency.QUORUM])
def test_who_bypasses_cache_gets_nothing_that_was_kept_and_renews_it(outdated, consistency):
    assert ask_with(outdated, consistency=consistency) == (2, [None], ["counts_of_video"])
    assert ask_with(outdated) == (2, ["process"], [])


def test_the_route_of_a_kept_answer_names_its_shard_and_no_instance(outdated):
    cluster, video_id, cache, _ = outdated
    options = ReadOptions(explains=True)
    [route] = get_counts(cluster, video_id=video_id, now=SOON, options=options, cache=cache).meta.routes
    partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    shard = cluster.topology.get_shard_of(partition)
    assert (route.shard, route.partitions, route.instance, route.reason) == (shard.name, (partition,), None, None)
    assert (route.attempts, route.cache) == ((), "process")


# -- closed windows ------------------------------------------------------------------------------


@pytest.fixture
def counted(clean_cluster, servers, django_db_blocker):
    """Real events of four hours; the first two hours are closed, and one of their minutes counts too much."""
    with django_db_blocker.unblock():
        RecountJob.objects.all().delete()
        forget_shared(servers)
        counted = count_events(clean_cluster)
        counted.execute(
            "UPDATE partition_state SET admits_since = %s WHERE partition = %s",
            counted.first_hour + 2 * HOUR,
            PARTITION,
        )
        yield counted
        RecountJob.objects.all().delete()


def ask_for_hours(cluster, counted, *, hours, cache, now):
    first, last = hours
    period = Period(counted.first_hour + first * HOUR, counted.first_hour + last * HOUR)
    question = StatsQuery(StatsTarget.video(counted.videos[0]), "view", Function.COUNT, period)
    return get_stats(cluster, question, max_buckets=10, now=now, cache=cache)


def expect_hours(counted, *, hours):
    first, last = (counted.first_hour + h * HOUR for h in hours)
    minutes = counted.expect(seconds=60)
    return sum(
        v[0] for (video, t, at), v in minutes.items() if (video, t) == (counted.videos[0], 1) and first <= at < last
    )


def await_everywhere(counted):
    """Every instance has what the primary has now."""
    with counted.cluster.transaction(PARTITION) as connection:
        mark = connection.execute(
            "UPDATE partition_state SET updated_at = clock_timestamp() WHERE partition = %s RETURNING updated_at",
            [PARTITION],
        ).fetchone()["updated_at"]
    shard_id = counted.cluster.topology.get_shard_of(PARTITION).id

    def find_one_behind():
        answers = counted.cluster.query_promotable_instances(shard_id, MARK, {"partition": PARTITION})
        return next((name for name, answer in answers.items() if answer.rows[0]["updated_at"] != mark), None)

    Waiter().wait_until(find_one_behind, within_seconds=20.0, what="every replica to have it")


def test_only_a_window_that_no_event_can_reach_any_more_is_final(counted):
    await_everywhere(counted)
    for hours, is_final in (((0, 1), True), ((0, 2), True), ((1, 3), False), ((3, 4), False)):
        for cache in (None, make_cache()):
            answer = ask_for_hours(counted.cluster, counted, hours=hours, cache=cache, now=NOW)
            assert (answer.meta.is_final, answer.value) == (is_final, expect_hours(counted, hours=hours))


def test_a_recount_invalidates_a_closed_window_at_once_in_every_process(counted, servers):
    broken = counted.execute(
        "UPDATE event_minute SET count = count + 100 WHERE video_id = %s AND event_type_id = 1 AND start < %s",
        counted.videos[0],
        counted.first_hour + HOUR,
    )
    await_everywhere(counted)
    patient = {"read_cache_generation_seconds": 0.0, "cache_timeout_seconds": limit(1.0)}
    cluster, caches = CountingCluster(counted.cluster), [make_cache(**patient) for _ in range(2)]
    right = expect_hours(counted, hours=(0, 1))
    ask_for_hours(cluster, counted, hours=(0, 1), cache=caches[0], now=NOW)
    await_shared(servers, 1)
    for now in (NOW, LATER, LATER + timedelta(days=30)):
        for cache in caches:
            answer = ask_for_hours(cluster, counted, hours=(0, 1), cache=cache, now=now)
            assert (answer.value, answer.meta.as_of, answer.meta.is_final) == (right + 100 * broken, NOW, True)
    assert cluster.take().count("buckets_of_videos") == 1
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    run_recount(counted.cluster, job.pk, settings=get_config().recount, budget_seconds=None)
    await_everywhere(counted)
    for cache in caches:
        assert ask_for_hours(cluster, counted, hours=(0, 1), cache=cache, now=LATER).value == right
    assert cluster.take().count("buckets_of_videos") in (1, 2)  # the second asks before the first answer is shared


def test_a_recount_that_finds_nothing_leaves_kept_answers_valid(counted):
    await_everywhere(counted)
    cluster, cache = CountingCluster(counted.cluster), make_cache(read_cache_generation_seconds=0.0)
    ask_for_hours(cluster, counted, hours=(0, 1), cache=cache, now=NOW)
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    run_recount(counted.cluster, job.pk, settings=get_config().recount, budget_seconds=None)
    await_everywhere(counted)
    cluster.take()
    ask_for_hours(cluster, counted, hours=(0, 1), cache=cache, now=LATER)
    assert cluster.take() == ["read_generations"]


def test_the_generation_is_asked_for_once_while_it_is_known(counted):
    await_everywhere(counted)
    cluster, cache = CountingCluster(counted.cluster), make_cache(read_cache_generation_seconds=3600.0)
    for hours in ((0, 1), (0, 2), (0, 1), (0, 2)):
        ask_for_hours(cluster, counted, hours=hours, cache=cache, now=LATER)
    asked = cluster.take()
    assert (asked.count("buckets_of_videos"), asked.count("read_generations")) == (2, 1)


@pytest.mark.parametrize("seed", range(3))
def test_kept_answers_equal_new_ones_whatever_is_flushed_closed_and_corrected(counted, seed):
    """Open windows by the second that they may lag, closed ones at once."""
    rng = random.Random(seed)
    caches = [make_cache(read_cache_generation_seconds=0.0) for _ in range(2)]
    now, closed_hours = NOW, 2
    for step in range(12):
        match rng.choice(["flush", "flush", "close", "correct", "correct"]):
            case "flush" if closed_hours < HOURS:
                counted.add(seed=seed * 100 + step, count=10, since_hour=closed_hours)
                counted.drain()
            case "close":
                closed_hours = min(HOURS, closed_hours + 1)
                edge = counted.first_hour + closed_hours * HOUR
                counted.execute("UPDATE partition_state SET admits_since = %s WHERE partition = %s", edge, PARTITION)
            case "correct":
                counted.execute(
                    "UPDATE event_minute SET count = count + %s WHERE video_id = %s AND event_type_id = 1",
                    rng.randint(1, 9),
                    counted.videos[0],
                )
                await_everywhere(counted)
                for cache in caches:  # who reads now, keeps what is wrong
                    ask_for_hours(counted.cluster, counted, hours=(0, 1), cache=cache, now=now)
                job = create_partition_recount(PARTITION, apply=True, actor="ada")
                run_recount(counted.cluster, job.pk, settings=get_config().recount, budget_seconds=None)
        await_everywhere(counted)
        now += timedelta(seconds=1.5)
        for _ in range(4):
            first = rng.randrange(HOURS)
            hours = (first, rng.randint(first + 1, HOURS))
            kept = ask_for_hours(counted.cluster, counted, hours=hours, cache=rng.choice(caches), now=now)
            assert kept.value == expect_hours(counted, hours=hours)
            assert kept.meta.is_final == (hours[1] <= closed_hours)


# -- when a shard is down ------------------------------------------------------------------------


@contextmanager
def down(servers, shard):
    """None of the shard's instances runs; afterwards all do, and are read."""
    instances = [servers.database(instance.name) for instance in shard.instances]
    for instance in instances:
        instance.kill()
    try:
        yield
    finally:
        for instance in instances:
            instance.start()
        for instance in instances:
            instance.wait_ready()
        await_replicas(get_cluster())


def ask_everything(cluster, videos, *, cache, now):
    period = Period(DAY, DAY + HOUR)
    stats = [StatsQuery(StatsTarget.video(v), "view", Function.COUNT, p) for v in videos for p in (ALL_TIME, period)]
    return {
        "counts": [get_counts(cluster, video_id=v, now=now, cache=cache) for v in videos],
        "stats": [get_stats(cluster, question, max_buckets=10, now=now, cache=cache) for question in stats],
        "list": get_counts_of_videos(cluster, video_ids=videos, max_videos=500, now=now, cache=cache),
        "top": get_top(cluster, TOP, max_limit=500, now=now, cache=cache),
        "channel": get_channel_counts(cluster, channel_id="nobody", now=now, cache=cache),
    }


def test_kept_counts_of_a_dead_shard_are_served_as_stale_and_others_are_untouched(stored, servers):
    cluster, videos = stored
    near, _, far, _ = videos
    cache = make_cache()
    ask_everything(cluster, videos, cache=cache, now=NOW)
    with down(servers, cluster.topology.shards[-1]):
        answers = ask_everything(cluster, videos, cache=cache, now=LATER)
        for answer in (*answers["counts"][:2], *answers["stats"][:4]):
            assert (answer.meta.stale, answer.meta.age_seconds, answer.meta.as_of) == (False, None, LATER)
        whole = (answers["list"], answers["top"], answers["channel"])
        for answer in (*answers["counts"][2:], *answers["stats"][4:], *whole):
            assert (answer.meta.stale, answer.meta.age_seconds, answer.meta.as_of) == (True, 3600.0, NOW)
            assert (answer.meta.partial, answer.meta.missing) == (False, ())
        assert [video.counts["view"] for video in answers["list"].videos] == [1, 1, 1, 1]
        assert {item.video_id for item in answers["top"].items} == set(videos)
        with pytest.raises(ShardUnavailable):  # nothing is made up for one that has never been asked for
            get_counts(cluster, video_id=find_unknown(cluster, like=far), now=LATER, cache=cache)
        other = make_cache()
        assert get_counts(cluster, video_id=far, now=LATER, cache=other).meta.stale  # kept where all processes look
        with pytest.raises(ShardUnavailable):
            get_counts(cluster, video_id=far, now=LATER + timedelta(days=2), cache=other)
        assert not get_counts(cluster, video_id=near, now=LATER + timedelta(days=2), cache=other).meta.stale
    answer = get_counts(cluster, video_id=far, now=LATER, cache=cache)  # without anybody's help
    assert (answer.meta.stale, answer.meta.as_of, answer.video.counts["view"]) == (False, LATER, 1)


def find_unknown(cluster, *, like):
    topology = cluster.topology
    shard = topology.get_shard_of(get_partition(like, partition_count=topology.partition_count))
    return find_videos_by_shard(cluster, per_shard=1, prefix="unknown")[shard.id][0]

"""What is not there is named, never counted as zero."""

from datetime import timedelta

import pytest

from clusterproxy.errors import ShardUnavailable
from tests.conftest import empty_shards
from tests.integration.queries.rows import (
    DAY,
    WATERMARK,
    MinuteRow,
    await_replicas,
    find_videos_by_shard,
    store_rows,
)
from viewcounter.events.partition import get_partition
from viewcounter.queries.counts import get_counts, get_counts_of_videos
from viewcounter.queries.errors import PartitionElsewhere
from viewcounter.queries.functions import Function
from viewcounter.queries.ranges import ALL_TIME
from viewcounter.queries.top import TopQuery, get_top

NOW = WATERMARK + timedelta(seconds=5)
TOP = TopQuery(event_type="view", function=Function.COUNT, period=ALL_TIME, limit=10)


def store(cluster):
    videos = find_videos_by_shard(cluster, per_shard=3)
    store_rows(cluster, [MinuteRow(v, 1, DAY, (1000,)) for own in videos.values() for v in own])
    return cluster, videos


@pytest.fixture
def stored(clean_cluster):
    return store(clean_cluster)


@pytest.fixture(scope="class")
def dead_shard(servers):
    """The last shard, all of its instances killed; the cluster, the videos of all shards, and it."""
    cluster, videos = store(empty_shards())
    shard = cluster.topology.shards[-1]
    instances = [servers.database(instance.name) for instance in shard.instances]
    for instance in instances:
        instance.kill()
    yield cluster, videos, shard
    for instance in instances:
        instance.start()
    for instance in instances:
        instance.wait_ready()
    await_replicas(cluster)


class TestADeadShard:
    """Killed once for all of these, as it takes its time to come back."""

    def test_a_dead_shard_leaves_its_videos_out_by_name(self, dead_shard):
        cluster, videos, shard = dead_shard
        asked = [v for own in zip(*videos.values(), strict=True) for v in own]
        answer = get_counts_of_videos(cluster, video_ids=asked, max_videos=500, now=NOW)
        assert answer.meta.partial
        assert list(answer.meta.missing) == [v for v in asked if v in videos[shard.id]]
        assert {video.video_id: video.counts["view"] for video in answer.videos} == {
            v: 1 for v in asked if v not in videos[shard.id]
        }
        assert answer.meta.complete_until == WATERMARK

    def test_top_without_a_dead_shard_says_so(self, dead_shard):
        cluster, videos, shard = dead_shard
        answer = get_top(cluster, TOP, max_limit=500, now=NOW)
        assert (answer.meta.partial, answer.meta.missing) == (True, (shard.name,))
        assert sorted(item.video_id for item in answer.items) == sorted(
            v for shard_id, own in videos.items() if shard_id != shard.id for v in own
        )

    def test_when_nothing_can_be_read_it_is_an_error(self, dead_shard):
        cluster, videos, shard = dead_shard
        with pytest.raises(ShardUnavailable):
            get_counts(cluster, video_id=videos[shard.id][0], now=NOW)
        with pytest.raises(ShardUnavailable):
            get_counts_of_videos(cluster, video_ids=videos[shard.id], max_videos=500, now=NOW)


def move_away(cluster, video_id):
    partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    with cluster.transaction(partition) as connection:
        connection.execute("UPDATE partition_state SET state = 'moved' WHERE partition = %s", (partition,))
    await_replicas(cluster)
    return partition


def test_a_partition_that_has_moved_is_not_answered_from_where_it_was(stored):
    cluster, videos = stored
    own = next(iter(videos.values()))
    partition = move_away(cluster, own[0])
    with pytest.raises(PartitionElsewhere) as caught:
        get_counts(cluster, video_id=own[0], now=NOW)
    assert caught.value.partition == partition
    with pytest.raises(PartitionElsewhere):
        get_counts_of_videos(cluster, video_ids=[own[0]], max_videos=500, now=NOW)


def test_videos_of_a_moved_partition_are_missing_beside_others_that_are_there(stored):
    cluster, videos = stored
    (first, *_), (other, *_) = videos.values()
    move_away(cluster, first)
    answer = get_counts_of_videos(cluster, video_ids=[first, other], max_videos=500, now=NOW)
    assert answer.meta.missing == (first,)
    assert [video.video_id for video in answer.videos] == [other]
    assert get_top(cluster, TOP, max_limit=500, now=NOW).meta.missing == (cluster.topology.shards[0].name,)


def test_an_answer_is_complete_until_the_oldest_watermark_it_has_read(stored):
    cluster, videos = stored
    (first, *_), (other, *_) = videos.values()
    partition = get_partition(first, partition_count=cluster.topology.partition_count)
    earlier = WATERMARK - timedelta(hours=3)
    await_replicas(cluster, watermarks={partition: earlier})
    assert get_counts(cluster, video_id=other, now=NOW).meta.complete_until == WATERMARK
    both = get_counts_of_videos(cluster, video_ids=[first, other], max_videos=500, now=NOW)
    assert both.meta.complete_until == earlier
    assert get_top(cluster, TOP, max_limit=500, now=NOW).meta.complete_until == earlier

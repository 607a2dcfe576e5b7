"""Readers with an outdated topology: their answers are correct at any time, and no event counts twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology.publication import read_from_control_database
from tests.integration.moves.moving import Crash, Moving
from tests.integration.processing.counted import PARTITION
from tests.waiting import wait_while
from viewcounter.config import get_config
from viewcounter.eventlog.interface import Position
from viewcounter.maintenance.lag import read_lag
from viewcounter.queries.counts import get_channel_counts, get_counts, get_counts_of_videos
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.functions import Function
from viewcounter.queries.ranges import Period
from viewcounter.queries.top import TopQuery, get_top

STRONG = {"options": ReadOptions(consistency=Consistency.STRONG)}


class OldNews:
    """A topology source that is outdated until it is called with `hurry`."""

    place = "old news"
    is_open = False

    def __init__(self, published) -> None:
        self.published = published

    def fetch(self, held):
        return None if self.published == held else self.published


@pytest.fixture
def reader(moving: Moving, tmp_path):
    """A process with the topology of before the move, which refreshes it only when it must."""
    config = get_config()
    settings = replace(config.cluster, topology_poll_seconds=600.0)
    source = OldNews(read_from_control_database())
    cluster = ClusterProxy(topology_sources=[source], settings=settings, pool=config.pool, state_dir=tmp_path)
    assert cluster.topology.get_shard_of(PARTITION).name == "shard2"
    cluster.source = source
    yield cluster
    cluster.close()


def read_everything(cluster, moving: Moving):
    """Every kind of query: counts of one video and of many, top of all time and of a period, a channel."""
    now = datetime.now(UTC)
    videos = moving.counted.videos
    period = Period(moving.counted.first_hour, moving.counted.first_hour + timedelta(days=1))
    tops = [
        get_top(cluster, TopQuery("view", Function.COUNT, p, limit=10), max_limit=10, now=now, **STRONG)
        for p in (Period(None, None), period)
    ]
    many = get_counts_of_videos(cluster, video_ids=videos, max_videos=500, now=now, **STRONG)
    channel = get_channel_counts(cluster, channel_id="science", now=now, **STRONG)
    answers = [*tops, many, channel]
    assert [answer.meta.missing for answer in answers] == [()] * len(answers)
    return (
        [get_counts(cluster, video_id=v, now=now, **STRONG).video.counts["view"] for v in videos],
        [video.counts["view"] for video in many.videos],
        *[{item.video_id: item.value for item in top.items} for top in tops],
        channel.counts["view"],
    )


def expect_everything(moving: Moving):
    totals = moving.counted.expect(seconds=None)
    views = [totals[video, 1][0] for video in moving.counted.videos]
    listed = dict(zip(moving.counted.videos, views, strict=True))
    return views, views, listed, listed, sum(views)


@pytest.mark.parametrize("state", ["copying", "catching_up", "held", "activated", "flipped", "released", "done"])
def test_old_routes_and_new_ones_lead_to_the_same_counts_at_every_step(moving: Moving, reader, state):
    def stop(move):
        if move.state == state:
            raise Crash

    with pytest.raises(Crash):
        moving.run(moving.plan(), on_step=stop)
    expected = expect_everything(moving)
    reader.source.published = read_from_control_database()
    assert read_everything(reader, moving) == expected
    moving.cluster.refresh_topology()
    assert read_everything(moving.cluster, moving) == expected


def test_a_reader_that_cannot_learn_of_a_move_is_told_what_is_missing(moving: Moving, reader):
    moving.run(moving.plan())
    answer = get_top(
        reader,
        TopQuery("view", Function.COUNT, Period(None, None), limit=10),
        max_limit=10,
        now=datetime.now(UTC),
        **STRONG,
    )
    assert (answer.items, answer.meta.missing) == ((), ("shard2",))


def test_a_read_demands_its_position_across_a_move(moving: Moving):
    moving.run(moving.plan())
    moving.live()
    moving.cluster.refresh_topology()
    [lag] = [lag for lag in read_lag(moving.cluster, moving.counted.log).partitions if lag.partition == PARTITION]
    assert (lag.shard, lag.state, lag.events_behind) == ("shard1", "owned", 0)
    options = ReadOptions(min_position=Position.parse(lag.position))

    def find_obstacle():
        answer = get_counts(moving.cluster, video_id=moving.counted.videos[0], now=datetime.now(UTC), options=options)
        return None if answer.video.counts["view"] == expect_everything(moving)[0][0] else "behind"

    wait_while(find_obstacle, what="the count")

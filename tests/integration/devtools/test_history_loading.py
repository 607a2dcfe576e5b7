"""The history of the read benchmark, read back by the queries of the service."""

from datetime import UTC, datetime, timedelta

import pytest

from devtools.bench.event_stream import VIDEOS
from devtools.bench.history import make_history
from devtools.bench.history_loading import count_rows, load_history
from viewcounter.queries.counts import get_counts
from viewcounter.queries.functions import Function
from viewcounter.queries.ranges import ALL_TIME, Interval, Period
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget
from viewcounter.queries.top import TopQuery, get_top

NOW = datetime(2026, 11, 26, 15, 7, tzinfo=UTC)
VIEW = 1


@pytest.fixture
def history(servers, clean_cluster):
    history = make_history(event_count=5000, partition_count=clean_cluster.topology.partition_count, now=NOW, seed=1)
    loaded = []
    load_history(servers, history, on_rows=loaded.append)
    assert sum(loaded) == count_rows(history)
    return history


def test_counts_statistics_and_top_lists_of_all_tiers_are_those_of_the_history(history, clean_cluster):
    views = history.totals.select(history.totals.types == VIEW)
    of_video = dict(zip(views.videos.tolist(), views.counts.tolist(), strict=True))
    assert get_counts(clean_cluster, video_id=VIDEOS[0], now=NOW).video.counts["view"] == of_video[0]
    question = StatsQuery(
        target=StatsTarget.video(VIDEOS[0]),
        event_type="view",
        function=Function.COUNT,
        period=Period(history.since, NOW),
        interval=Interval.DAY,
    )
    year = get_stats(clean_cluster, question, max_buckets=1500, now=NOW)
    assert year.value == of_video[0]
    assert {bucket.start.hour for bucket in year.series or ()} == {0}
    assert year.meta.complete_until == NOW
    minutes = history.minutes.select((history.minutes.videos == 0) & (history.minutes.types == VIEW))
    day = get_stats(
        clean_cluster,
        StatsQuery(StatsTarget.video(VIDEOS[0]), "view", Function.COUNT, Period(NOW - timedelta(days=1), NOW)),
        max_buckets=1500,
        now=NOW,
    )
    since = int((NOW - timedelta(days=1)).timestamp()) // 60
    assert day.value == minutes.counts[minutes.starts >= since].sum()
    for period in (ALL_TIME, Period(history.since, NOW)):
        top = get_top(clean_cluster, TopQuery("view", Function.COUNT, period, 20), max_limit=100, now=NOW)
        expected = sorted(((-count, VIDEOS[video]) for video, count in of_video.items()))[:20]
        assert [(-item.value, item.video_id) for item in top.items] == expected

"""Sketches on a real shard: made from raw events, outlive them, and are never believed when they lack an event."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from clusterproxy.plan import Consistency
from tests.integration.processing.rolling import PARTITION, Event, Rolling
from viewcounter.config import get_config
from viewcounter.events.partition import get_partition
from viewcounter.maintenance import tasks
from viewcounter.maintenance.settings import SketchSettings
from viewcounter.maintenance.sketching import find_partitions_to_sketch, sketch_partition
from viewcounter.queries.errors import InvalidQuery, SketchesBehind
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.meta import Source
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.settings import SketchLimits
from viewcounter.queries.sketched import SketchFunction
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget
from viewcounter.storage import sketches
from viewcounter.storage.errors import PartitionBeingMoved
from viewcounter.storage.raw_days import make_raw_days
from viewcounter.storage.rollup import DirtyTier

DAY = datetime(2026, 1, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
VIEW, WATCH_TIME = 1, 6
SETTINGS = SketchSettings(budget_seconds=60.0, max_events=4, max_keys=2, future_seconds=300)
STRONG = ReadOptions(consistency=Consistency.STRONG)


class Sketching(Rolling):
    """With raw events, received as they happen."""

    def write(self, connection, events, *, watermark):
        super().write(connection, events, watermark=watermark)
        for event in events:
            # The viewer who watches for n seconds is viewer n; events beyond 100 seconds have no viewer.
            viewer = 0 if event.value > 100_000 else event.value
            connection.execute(
                "INSERT INTO raw_event (partition, event_type_id, received_at, occurred_at, value, viewer, event_id,"
                " video_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [PARTITION, event.type_id, event.minute, event.minute, event.value, viewer, uuid4(), event.video_id],
            )

    def sketch(self):
        report = sketch_partition(self.cluster, PARTITION, settings=SETTINGS)
        assert report.is_complete
        assert self.connection.execute("SELECT * FROM sketch_due").fetchall() == []
        return report.hour_count, report.day_count, report.unmade_count

    def ask(self, video_id, start, end, function=SketchFunction.P50, *, interval=None, limits=None):
        question = StatsQuery(StatsTarget.video(video_id), "watch_time", function, Period(start, end), interval)
        more = {} if limits is None else {"limits": limits}
        return get_stats(self.cluster, question, max_buckets=100, now=datetime.now(UTC), options=STRONG, **more)

    def forget_raw(self):
        self.connection.execute("DELETE FROM raw_event")


@pytest.fixture
def sketching(clean_cluster, shard_connection):
    days = make_raw_days(shard_connection, [(DAY + n * 24 * HOUR).date() for n in range(-1, 3)])
    yield Sketching(clean_cluster, shard_connection)
    for day in days:
        shard_connection.execute(f"DROP TABLE raw_event_{day:%Y%m%d}")


@pytest.fixture
def videos(clean_cluster):
    count = clean_cluster.topology.partition_count
    return [v for v in (f"v{n}" for n in range(1000)) if get_partition(v, partition_count=count) == PARTITION][:4]


def watch(video_id, *events):
    """(minute of the day, value in units)."""
    return [Event(video_id, WATCH_TIME, DAY + minute * MINUTE, value * 1000) for minute, value in events]


def test_sketches_of_hours_and_days_answer_when_raw_events_are_gone(sketching, videos):
    video = videos[0]
    events = watch(video, (0, 5), (1, 1), (59, 3), (60, 9), (61, 7), (61, 8), (62, 6), (1439, 2), (1440, 4), (1500, 10))
    others = [event for other in videos[1:] for event in (*watch(other, (3, 50)), Event(other, VIEW, DAY, 0))]
    sketching.flush(events + others, watermark=DAY + 26 * HOUR)
    sketching.roll()
    assert find_partitions_to_sketch(sketching.cluster) == [PARTITION]
    # 4 hours and a day of the video; the second hour is more than is read at once
    assert sketching.sketch() == (4 + 6, 1 + 6, 0)
    assert find_partitions_to_sketch(sketching.cluster) == []
    whole = sketching.ask(video, DAY, DAY + 24 * HOUR)
    assert (whole.value, whole.meta.sources) == (5, (Source.DAY,))
    sketching.forget_raw()
    assert sketching.ask(video, DAY, DAY + 24 * HOUR).value == 5
    by_hour = sketching.ask(video, DAY, DAY + 25 * HOUR, SketchFunction.P90, interval=Interval.HOUR)
    assert by_hour.value == 9
    assert [(b.start, b.value) for b in by_hour.series] == [
        (DAY, 5),
        (DAY + HOUR, 9),
        (DAY + 23 * HOUR, 2),
        (DAY + 24 * HOUR, 4),
    ]
    assert by_hour.meta.sources == (Source.HOUR,)
    assert by_hour.meta.approximate == {"p90": {"rank_error": 0.0133, "k": 200}}
    with pytest.raises(InvalidQuery, match="1 events") as caught:
        sketching.ask(video, DAY, DAY + 30 * HOUR)  # the open hour would be answered from raw events
    assert caught.value.code == "raw_expired"


def test_a_viewer_counts_once_in_an_hour_a_day_and_a_period_and_nobody_never(sketching, videos):
    events = [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 101),
        (60, 1),
        (61, 3),
        (120, 101),
        (1441, 2),
        (1442, 4),
        (1500, 5),
        (1501, 1),
    ]
    sketching.flush(watch(videos[0], *events), watermark=DAY + 25 * HOUR + 10 * MINUTE)
    sketching.roll()
    viewers = SketchFunction.UNIQUE_VIEWERS
    for act in (lambda: None, sketching.sketch):
        act()
        answer = sketching.ask(videos[0], DAY, DAY + 26 * HOUR, viewers, interval=Interval.HOUR)
        assert answer.value == 5  # 1, 2, 3 of the day, 4 of the next, 5 of its open hour
        assert [b.value for b in answer.series] == [2, 2, 0, 2, 2]
        assert sketching.ask(videos[0], DAY, DAY + 24 * HOUR, viewers).value == 3
        assert sketching.ask(videos[0], DAY + MINUTE, DAY + 62 * MINUTE, viewers).value == 3
        assert sketching.ask(videos[0], DAY + 2 * HOUR, DAY + 3 * HOUR, viewers).value == 0
    assert answer.meta.sources == (Source.HOUR, Source.RAW)
    sketching.forget_raw()
    assert sketching.ask(videos[0], DAY, DAY + 25 * HOUR, viewers).value == 4
    assert sketching.ask(videos[1], DAY, DAY + 25 * HOUR, viewers).value == 0


def test_a_late_event_is_in_the_next_answer_and_in_the_sketches_made_again(sketching, videos):
    video = videos[0]
    sketching.flush(watch(video, (0, 1), (61, 1)), watermark=DAY + 26 * HOUR)
    sketching.roll()
    assert sketching.sketch() == (2, 1, 0)
    sketching.flush(watch(video, (1, 8), (2, 9)), watermark=DAY + 26 * HOUR)
    answers = []
    for step in (lambda: None, sketching.roll, sketching.sketch, sketching.forget_raw):
        step()
        answer = sketching.ask(video, DAY, DAY + 24 * HOUR, SketchFunction.P90)
        answers.append((answer.value, answer.meta.sources))
    assert answers == [
        (9, (Source.HOUR, Source.RAW)),
        (9, (Source.HOUR, Source.RAW)),
        (9, (Source.DAY,)),
        (9, (Source.DAY,)),
    ]


def test_sketches_of_hours_go_with_their_hours_and_those_of_days_stay(sketching, videos):
    sketching.flush(watch(videos[0], (0, 1), (61, 2), (1441, 3)), watermark=DAY + 26 * HOUR)
    sketching.roll()
    sketching.sketch()
    assert sketching.retain(ids=HOUR, minutes=HOUR, hours=HOUR).hour_sketch_count == 2
    left = sketching.connection.execute("SELECT tier, start FROM event_sketch ORDER BY start").fetchall()
    assert [tuple(row.values()) for row in left] == [("day", DAY), ("hour", DAY + 24 * HOUR)]
    sketching.forget_raw()
    assert sketching.ask(videos[0], DAY, DAY + 25 * HOUR, SketchFunction.P99).value == 3


def test_an_hour_whose_raw_events_were_gone_first_is_refused_and_not_waited_for(sketching, videos):
    video = videos[0]
    sketching.flush(watch(video, (0, 1), (61, 2)), watermark=DAY + 26 * HOUR)
    sketching.roll()
    sketching.connection.execute("DELETE FROM raw_event WHERE occurred_at < %s", [DAY + HOUR])
    assert sketching.sketch() == (1, 0, 2)
    with pytest.raises(InvalidQuery, match="1 events, the first of them after 2026-01-31T00:00Z") as caught:
        sketching.ask(video, DAY, DAY + 24 * HOUR)
    assert (caught.value.field, caught.value.code) == ("start_time", "raw_expired")
    assert sketching.ask(video, DAY + HOUR, DAY + 24 * HOUR).value == 2


def test_a_sketch_that_cannot_be_read_is_not_used(sketching, videos, caplog):
    sketching.flush(watch(videos[0], (0, 1), (61, 2)), watermark=DAY + 26 * HOUR)
    sketching.roll()
    sketching.sketch()
    sketching.connection.execute("UPDATE event_sketch SET quantiles = 'damaged' WHERE tier = 'day'")
    answer = sketching.ask(videos[0], DAY, DAY + 24 * HOUR)
    assert (answer.value, answer.meta.sources) == (1, (Source.RAW,))
    assert "cannot be read" in caplog.text


def test_too_many_events_without_sketches_are_refused(sketching, videos):
    video = videos[0]
    sketching.flush(watch(video, (0, 1), (1, 2), (1500, 3)), watermark=DAY + 25 * HOUR)
    sketching.roll()
    with pytest.raises(SketchesBehind):
        sketching.ask(video, DAY, None, limits=SketchLimits(max_events=2))
    with pytest.raises(SketchesBehind):
        sketching.ask(video, DAY, None, limits=SketchLimits(max_pieces=1))
    with pytest.raises(InvalidQuery, match="up to 2026-02-01T00:00Z") as caught:
        sketching.ask(video, DAY, None, limits=SketchLimits(max_events=0))
    assert caught.value.code == "too_many_raw_events"
    sketching.sketch()
    assert sketching.ask(video, DAY, None, limits=SketchLimits(max_events=1)).value == 2
    with pytest.raises(InvalidQuery) as caught:
        sketching.ask(video, DAY, None, limits=SketchLimits(max_bytes=10))
    assert caught.value.code == "too_many_sketches"


def test_nothing_is_stored_while_a_partition_moves(sketching, videos):
    sketching.flush(watch(videos[0], (0, 1)), watermark=DAY + 26 * HOUR)
    sketching.roll()
    sketching.connection.execute("UPDATE partition_state SET maintenance_held_until = now() + interval '1 minute'")
    assert find_partitions_to_sketch(sketching.cluster) == []
    with pytest.raises(PartitionBeingMoved):
        sketch_partition(sketching.cluster, PARTITION, settings=SETTINGS)
    assert sketching.connection.execute("SELECT * FROM event_sketch").fetchall() == []


def test_a_maker_that_was_slow_neither_stores_less_nor_takes_a_newer_mark_away(sketching, videos):
    sketching.flush(watch(videos[0], (0, 1), (1, 2)), watermark=DAY + 2 * HOUR)
    sketching.roll()
    slow = sketches.find_due(sketching.connection, PARTITION)
    assert (slow.tier, slow.start) == (DirtyTier.HOUR, DAY)
    sketching.sketch()
    sketching.flush(watch(videos[0], (2, 3)), watermark=DAY + 2 * HOUR)
    sketching.roll()
    key = sketches.StaleKey(videos[0], WATCH_TIME, 2)
    sketches.store_sketches(sketching.connection, PARTITION, slow, [sketches.MadeSketch(key, 1, b"", b"less")])
    sketches.clear_due(sketching.connection, PARTITION, slow)
    assert sketching.connection.execute("SELECT events FROM event_sketch").fetchall() == [{"events": 2}]
    assert sketching.sketch() == (1, 0, 0)
    assert sketching.ask(videos[0], DAY, DAY + HOUR).value == 2


def test_beat_queues_one_task_for_all_partitions_that_are_due(sketching, videos, monkeypatch):
    queued = []
    monkeypatch.setattr(tasks.sketch, "apply_async", lambda arguments, expires: queued.append((arguments, expires)))
    sketching.flush(watch(videos[0], (0, 1), (61, 2)), watermark=DAY + 26 * HOUR)
    sketching.roll()
    sketching.connection.execute("INSERT INTO sketch_due (partition, tier, start) VALUES (0, 'hour', %s)", [DAY])
    first = find_partitions_to_sketch(sketching.cluster)
    tasks.dispatch_sketches()
    [((partitions,), expires)] = queued
    assert (sorted(partitions), expires) == (first, get_config().sketch.interval_seconds)
    tasks.sketch(partitions)
    tasks.dispatch_sketches()
    assert len(queued) == 1
    assert sketching.ask(videos[0], DAY, DAY + 24 * HOUR).meta.sources == (Source.DAY,)

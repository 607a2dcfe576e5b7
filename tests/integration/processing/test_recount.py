"""Recounts on real shards: whatever was corrupted becomes what raw events say, beside drains and through crashes."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.integration.processing.counted import HOUR, HOURS, PARTITION, count_events
from tests.pace import limit
from viewcounter.config import get_config
from viewcounter.maintenance import recount_jobs
from viewcounter.maintenance.models import RecountJob
from viewcounter.maintenance.recount_jobs import (
    create_partition_recount,
    create_video_recount,
    list_runnable,
    requeue_lost,
    run_recount,
)
from viewcounter.maintenance.rollup import roll_partition
from viewcounter.maintenance.settings import RollupSettings
from viewcounter.storage import recount as storage
from viewcounter.storage.errors import PartitionBeingMoved
from viewcounter.storage.recount import read_term

CORRUPTIONS = {
    "wrong count": "UPDATE event_minute SET count = count + 3, sum = 7 WHERE {some}",
    "missing minutes": "DELETE FROM event_minute WHERE {some}",
    "extra minute": (
        "INSERT INTO event_minute SELECT DISTINCT partition, video_id, 6, start + interval '37 seconds', 2, 2, 1, 1"
        " FROM event_minute WHERE {some}"
    ),
    "minutes of a video nobody knows": (
        "INSERT INTO event_minute SELECT DISTINCT partition, 'nobody', 6, start, 2, 2, 1, 1"
        " FROM event_minute WHERE {some}"
    ),
    "wrong total": "UPDATE event_total SET count = count - 1, max = max + 1",
    "missing totals": "DELETE FROM event_total",
    "extra total": (
        "INSERT INTO event_type VALUES (3, 'dislike') ON CONFLICT (id) DO UPDATE SET name = excluded.name;"
        "INSERT INTO event_total SELECT partition, video_id, 3, 1, 1, 1, 1 FROM video LIMIT 1"
    ),
    "all aggregates gone": "DELETE FROM event_minute; DELETE FROM event_total",
}
FIGURES = ("count", "sum", "min", "max")
SOME = "start >= '{hour}' AND start < timestamptz '{hour}' + interval '20 minutes'"


@pytest.fixture
def counted(clean_cluster, django_db_blocker):
    with django_db_blocker.unblock():
        RecountJob.objects.all().delete()
        yield count_events(clean_cluster)
        RecountJob.objects.all().delete()


def run(counted, job, **changes):
    settings = replace(get_config().recount, **changes)
    run_recount(counted.cluster, job.pk, settings=settings, budget_seconds=None)
    job.refresh_from_db()
    return job


def corrupt(counted, statement):
    some = SOME.format(hour=(counted.first_hour + HOUR).isoformat())
    for part in statement.format(some=some).split(";"):
        assert counted.execute(part) > 0


def dump(counted):
    return {t: counted.read(t) for t in ("event_minute", "event_total", "event_hour")}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_recount_shows_the_difference_and_repairs_only_when_asked(counted, name):
    corrupt(counted, CORRUPTIONS[name])
    before = dump(counted)
    job = run(counted, create_partition_recount(PARTITION, apply=False, actor="ada"))
    assert (job.state, job.error) == ("done", "")
    assert dump(counted) == before
    wrong = {
        "minute": find_differences(before["event_minute"], counted.expect(seconds=60)),
        "total": find_differences(before["event_total"], counted.expect(seconds=None)),
    }
    assert job.difference_counts == {tier: len(rows) for tier, rows in wrong.items() if rows}
    assert {describe(row) for row in job.differences} <= wrong["minute"] | wrong["total"]
    job = run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    assert (job.state, job.error) == ("done", "")
    counted.assert_exact()
    assert {describe(row) for row in job.differences if row["tier"] == "minute"} <= wrong["minute"]
    assert job.difference_counts.get("minute", 0) == len(wrong["minute"])
    again = run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    assert (again.difference_counts, again.differences) == ({}, [])


def find_differences(found, expected):
    return {
        (key, found.get(key), expected.get(key))
        for key in found.keys() | expected.keys()
        if found.get(key) != expected.get(key)
    }


def describe(row):
    start = [datetime.fromisoformat(row["start"])] if row["start"] else []
    sides = (tuple(row[side][name] for name in FIGURES) if row[side] else None for side in ("found", "expected"))
    return ((row["video_id"], row["event_type_id"], *start), *sides)


def test_a_recount_of_one_video_leaves_the_others_alone(counted):
    corrupt(counted, CORRUPTIONS["wrong count"])
    corrupt(counted, CORRUPTIONS["wrong total"])
    before, video = dump(counted), counted.videos[2]
    job = run(counted, create_video_recount(counted.cluster, video, apply=True, actor="ada"))
    assert (job.state, job.partition, job.videos_done) == ("done", PARTITION, 1)
    after = dump(counted)
    for table, seconds in (("event_minute", 60), ("event_total", None)):
        right = counted.expect(seconds=seconds)
        assert {k: v for k, v in after[table].items() if k[0] == video} == {
            k: v for k, v in right.items() if k[0] == video
        }
        assert {k: v for k, v in after[table].items() if k[0] != video} == {
            k: v for k, v in before[table].items() if k[0] != video
        }


def test_rolled_buckets_above_corrected_minutes_are_marked_and_wrong_ones_too(counted):
    counted.roll(through=counted.first_hour + HOUR * HOURS)
    corrupt(counted, CORRUPTIONS["wrong count"])
    counted.execute("UPDATE event_hour SET count = count + 1 WHERE start = %s", counted.first_hour)
    wrong_hours = {k for k in counted.read("event_hour") if k[2] == counted.first_hour}
    corrected = {
        (k[0], k[1], k[2].replace(minute=0))
        for k, found in counted.read("event_minute").items()
        if found != counted.expect(seconds=60)[k]
    }
    preview = run(counted, create_partition_recount(PARTITION, apply=False, actor="ada"))
    assert preview.difference_counts["hour"] == len(wrong_hours)
    run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    counted.assert_exact()
    with counted.cluster.transaction(PARTITION) as connection:
        marks = connection.execute(
            "SELECT video_id, event_type_id, start FROM rollup_dirty WHERE tier = 'hour'"
        ).fetchall()
    marked = {(m["video_id"], m["event_type_id"], m["start"].astimezone(UTC)) for m in marks}
    # In the hour after midnight the day is rolled too: one that differs has its first hour rolled once more.
    first_hours = {(video, kind, start.replace(hour=0)) for video, kind, start in wrong_hours | corrected}
    assert wrong_hours | corrected <= marked <= wrong_hours | corrected | first_hours


def test_hours_before_the_raw_window_are_never_touched_and_still_count_in_totals(counted):
    old = counted.first_hour - HOUR * 24 * 365
    video = counted.videos[0]
    counted.execute("INSERT INTO event_type VALUES (3, 'dislike') ON CONFLICT DO NOTHING")
    counted.execute("INSERT INTO event_minute VALUES (3, %s, 3, %s, 7, 70, 1, 30)", video, old)
    counted.execute("UPDATE event_total SET count = 0 WHERE video_id = %s", video)
    run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    assert counted.read("event_minute")[video, 3, old] == (7, 70, 1, 30)
    assert counted.read("event_total")[video, 3] == (7, 70, 1, 30)
    assert counted.read("event_total")[video, 1] == counted.expect(seconds=None)[video, 1]


def test_totals_that_are_right_stay_right_while_minutes_are_repaired(counted, monkeypatch):
    counted.execute("UPDATE event_minute SET count = count + 3")
    right, seen = counted.read("event_total"), []

    def look(*_):
        seen.append(counted.read("event_total"))

    monkeypatch.setattr(storage, "STEPS", [look, *storage.STEPS])
    job = run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    assert job.difference_counts == {"minute": len(counted.expect(seconds=60))}
    assert len(seen) > HOURS
    assert all(totals == right for totals in seen)
    counted.assert_exact()


def test_a_held_partition_is_not_changed_and_the_recount_says_why(counted):
    corrupt(counted, CORRUPTIONS["wrong count"])
    before = dump(counted)
    counted.execute("UPDATE partition_state SET state = 'held' WHERE partition = 3")
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    with pytest.raises(PartitionBeingMoved):
        run(counted, job)
    job.refresh_from_db()
    assert (job.state, job.error) == ("running", "waits: partition 3 is being moved")
    assert dump(counted) == before


class Crash(Exception):
    pass


@pytest.mark.parametrize("place", range(len(storage.STEPS) + 1))
def test_a_crash_between_any_two_statements_of_a_repair_is_gone_on_from(counted, monkeypatch, place):
    corrupt(counted, CORRUPTIONS["wrong count"])
    corrupt(counted, CORRUPTIONS["missing totals"])
    wrong = len(find_differences(counted.read("event_minute"), counted.expect(seconds=60)))
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    repairs = iter(range(100))

    def crash(*_):
        if next(repairs) == 2:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(storage, "STEPS", [*storage.STEPS[:place], crash, *storage.STEPS[place:]])
        with pytest.raises(Crash):
            run(counted, job)
    assert list_runnable(now=datetime.now(UTC)) == [job.pk]
    assert find_differences(counted.read("event_minute"), counted.expect(seconds=60))
    job = run(counted, job)
    counted.assert_exact()
    assert (job.state, job.difference_counts["minute"]) == ("done", wrong)
    assert list_runnable(now=datetime.now(UTC)) == []


def test_a_recount_in_small_ranges_and_small_steps_is_the_same(counted):
    corrupt(counted, CORRUPTIONS["missing minutes"])
    corrupt(counted, CORRUPTIONS["wrong total"])
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    run(counted, job, range_videos=1, max_differences=1)
    counted.assert_exact()
    assert (job.state, job.videos_done, job.videos_total) == ("done", len(counted.videos), len(counted.videos))


def run_until_it_dies(counted, job, *, after_ranges):
    """Of one video each."""
    left = iter(range(after_ranges))
    repair = recount_jobs.repair_range

    def repair_or_die(*arguments, **options):
        if next(left, None) is None:
            raise RuntimeError("the worker dies")
        return repair(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="the worker dies"):
        patch.setattr(recount_jobs, "repair_range", repair_or_die)
        run(counted, job, range_videos=1)
    job.refresh_from_db()
    assert (job.state, job.videos_done) == ("running", after_ranges)


def test_a_recount_goes_on_where_it_stopped(counted):
    corrupt(counted, CORRUPTIONS["missing minutes"])
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    run_recount(counted.cluster, job.pk, settings=get_config().recount, budget_seconds=0.0)  # no time at all
    run_until_it_dies(counted, job, after_ranges=3)
    run(counted, job)
    assert job.videos_done == job.videos_total == len(counted.videos)
    counted.assert_exact()


def lose_in_failover(counted, *, term):
    """What a promoted replica does not have: the last corrections, with what they changed."""
    corrupt(counted, CORRUPTIONS["missing minutes"])
    counted.execute("DELETE FROM correction")
    counted.execute("UPDATE shard_identity SET term = %s", term)


@pytest.fixture
def term(counted):
    """Of the shard, which is put back."""
    with counted.cluster.transaction(PARTITION) as connection:
        term = read_term(connection)
    yield term
    counted.execute("UPDATE shard_identity SET term = %s", term)


def test_a_recount_that_a_failover_has_undone_is_repeated(counted, term):
    corrupt(counted, CORRUPTIONS["missing minutes"])
    job = run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    assert requeue_lost(counted.cluster, now=datetime.now(UTC)) == []
    lose_in_failover(counted, term=term)
    assert requeue_lost(counted.cluster, now=datetime.now(UTC)) == []  # the same term: nothing can be lost
    RecountJob.objects.update(corrected_on="shard1 in term 0")
    assert requeue_lost(counted.cluster, now=datetime.now(UTC)) == [job.pk]
    assert list_runnable(now=datetime.now(UTC)) == [job.pk]
    assert run(counted, job).state == "done"
    counted.assert_exact()
    assert requeue_lost(counted.cluster, now=datetime.now(UTC)) == []


def test_a_recount_under_way_begins_again_after_a_failover(counted, term):
    corrupt(counted, CORRUPTIONS["missing minutes"])
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    run_until_it_dies(counted, job, after_ranges=3)
    lose_in_failover(counted, term=term + 1)
    assert run(counted, job, range_videos=1).state == "done"
    counted.assert_exact()
    assert job.corrected_on.endswith(f"in term {term + 1}")


def test_the_next_rollup_makes_what_a_recount_marked_right_again(counted):
    settings = RollupSettings(grace_seconds=0.0, budget_seconds=20.0, marks_max=1000)
    assert roll_partition(counted.cluster, PARTITION, settings=settings).is_complete
    closed = {key: row for key, row in counted.expect(seconds=3600).items() if key in counted.read("event_hour")}
    assert counted.read("event_hour") == closed
    corrupt(counted, CORRUPTIONS["wrong count"])
    corrupt(counted, CORRUPTIONS["minutes of a video nobody knows"])
    counted.execute("UPDATE event_hour SET sum = 1 WHERE start = %s", counted.first_hour)
    run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    assert roll_partition(counted.cluster, PARTITION, settings=settings).is_complete
    assert counted.read("event_hour") == closed
    counted.assert_exact()
    again = run(counted, create_partition_recount(PARTITION, apply=False, actor="ada"))
    assert again.difference_counts == {}


def test_a_worker_that_was_taken_for_dead_does_not_count_differences_twice(counted, monkeypatch):
    corrupt(counted, CORRUPTIONS["missing minutes"])
    wrong = len(find_differences(counted.read("event_minute"), counted.expect(seconds=60)))
    job = create_partition_recount(PARTITION, apply=False, actor="ada")
    compare = recount_jobs.compare_range

    def be_overtaken(*arguments, **options):
        monkeypatch.setattr(recount_jobs, "compare_range", compare)
        RecountJob.objects.update(lease_until=None)
        run(counted, job)
        return compare(*arguments, **options)

    monkeypatch.setattr(recount_jobs, "compare_range", be_overtaken)
    job = run(counted, job)
    assert (job.state, job.difference_counts["minute"], job.videos_done) == ("done", wrong, len(counted.videos))


def test_recounts_beside_drains_stay_exact(counted):
    corrupt(counted, CORRUPTIONS["missing minutes"])
    corrupt(counted, CORRUPTIONS["wrong total"])
    counted.roll(through=counted.first_hour + HOUR * 2)
    for seed in range(2, 8):
        counted.add(seed=seed, count=200)
    drain = threading.Thread(target=counted.drain)
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    drain.start()
    run(counted, job, range_videos=2)
    drain.join(timeout=limit(60))
    assert not drain.is_alive()
    run(counted, create_partition_recount(PARTITION, apply=True, actor="ada"))
    counted.assert_exact()

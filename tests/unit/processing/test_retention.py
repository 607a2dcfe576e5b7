"""How far a partition may be cut, and which settings are refused."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings import configure
from viewcounter.ingest.settings import AcceptWindow
from viewcounter.maintenance.checks import find_contradictions
from viewcounter.maintenance.retention import plan_edges
from viewcounter.maintenance.settings import RetentionSettings
from viewcounter.storage.raw_days import plan_old_raw_days
from viewcounter.storage.retention import OldestMarks, RetentionEdges
from viewcounter.storage.rollup import RollupState

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 15, 10, 20, 30, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
NO_MARKS = OldestMarks(None, None)
POLICY = RetentionSettings()


def state(watermark=NOW, rolled_through=None, edges=(NEVER, NEVER, NEVER)):
    rolled_through = rolled_through or watermark.replace(minute=0, second=0)
    return RollupState(1, "owned", watermark, rolled_through, *edges)


def test_ages_count_back_from_the_watermark():
    assert plan_edges(state(), NO_MARKS, policy=POLICY) == RetentionEdges(
        admits_since=datetime(2026, 6, 7, 10, 30, tzinfo=UTC),  # 8 days, less 10 minutes for clocks that are apart
        minutes_since=datetime(2026, 6, 7, tzinfo=UTC),
        hours_since=datetime(2026, 3, 17, tzinfo=UTC),
    )
    later = plan_edges(state(watermark=NOW + DAY), NO_MARKS, policy=POLICY)
    assert later.admits_since == datetime(2026, 6, 8, 10, 30, tzinfo=UTC)


def test_an_event_of_the_accept_window_is_admitted_by_clocks_that_differ():
    edges = plan_edges(state(), NO_MARKS, policy=POLICY)
    assert edges.admits_since <= NOW - timedelta(seconds=AcceptWindow().past_seconds, minutes=5)


def test_what_is_not_rolled_or_dirty_keeps_what_it_is_made_from():
    old = datetime(2026, 2, 1, 5, tzinfo=UTC)
    assert plan_edges(state(rolled_through=old), NO_MARKS, policy=POLICY).minutes_since == old.replace(hour=0)
    assert plan_edges(state(rolled_through=old), NO_MARKS, policy=POLICY).hours_since == old.replace(hour=0)
    assert plan_edges(state(), OldestMarks(old, None), policy=POLICY).minutes_since == old.replace(hour=0)
    assert plan_edges(state(), OldestMarks(old, None), policy=POLICY).hours_since == old.replace(hour=0)
    edges = plan_edges(state(), OldestMarks(None, old.replace(hour=0)), policy=POLICY)
    assert edges.minutes_since == edges.hours_since == old.replace(hour=0)


def test_a_bucket_whose_sketches_are_due_keeps_its_hours_and_not_its_minutes():
    old = datetime(2026, 2, 1, 5, tzinfo=UTC)
    edges = plan_edges(state(), OldestMarks(None, None, old), policy=POLICY)
    assert (edges.minutes_since, edges.hours_since) == (datetime(2026, 6, 7, tzinfo=UTC), old.replace(hour=0))


instants = st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 1), timezones=st.just(UTC))
ages = st.integers(0, 40 * 86400).map(lambda seconds: timedelta(seconds=seconds))


@given(
    watermark=instants,
    rolled=instants,
    hour=st.one_of(st.none(), instants),
    day=st.one_of(st.none(), instants),
    lengths=st.tuples(ages, ages, ages),
)
def test_the_edges_keep_their_order_and_never_go_back_whatever_the_settings(watermark, rolled, hour, day, lengths):
    rolled = rolled.replace(minute=0, second=0, microsecond=0)
    ids, minutes, hours = (int(length.total_seconds()) for length in lengths)
    policy = RetentionSettings(ids_seconds=ids, minutes_seconds=minutes, hours_seconds=hours)
    before = (NEVER, NEVER, NEVER)
    for _ in range(2):
        edges = plan_edges(state(watermark, rolled, before), OldestMarks(hour, day), policy=policy)
        assert edges.hours_since <= edges.minutes_since <= min(edges.admits_since, rolled)
        assert edges.hours_since.hour == edges.minutes_since.hour == edges.admits_since.second == 0
        assert (edges.admits_since, edges.minutes_since, edges.hours_since) >= before
        assert hour is None or edges.minutes_since <= hour
        assert day is None or edges.hours_since <= edges.minutes_since <= day
        before = (edges.admits_since, edges.minutes_since, edges.hours_since)
        watermark += DAY


def test_a_day_of_raw_events_goes_when_nothing_received_in_it_can_arrive_any_more():
    names = [f"raw_event_202606{day:02d}" for day in (5, 6, 7, 8)]

    def plan(admits_since, watermark=NOW):
        return plan_old_raw_days(
            names,
            watermark=watermark,
            admits_since=admits_since,
            retention=timedelta(days=7),
            guard=timedelta(minutes=10),
        )

    assert plan(datetime(2026, 6, 7, 10, tzinfo=UTC)) == names[:2]
    assert plan(datetime(2026, 6, 7, 0, 9, tzinfo=UTC)) == names[:1]
    assert plan(NEVER) == []
    assert plan(NOW, watermark=datetime(2026, 6, 13, tzinfo=UTC)) == names[:1]


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, []),
        ({"accept_past_seconds": 8 * 86400}, ["viewcounter.E001"]),
        ({"retention_ids_seconds": 7 * 86400 + 899}, ["viewcounter.E001"]),
        ({"retention_ids_seconds": 7 * 86400 + 900}, []),
        ({"retention_minutes_seconds": 8 * 86400 - 1}, ["viewcounter.E002"]),
        ({"retention_hours_seconds": 9 * 86400 - 1}, ["viewcounter.E003"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, ids):
    assert [e.id for e in find_contradictions(configure(**changes))] == ids

"""The planner: which rows answer which part of a period."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import EPOCH, MINUTE, Interval, Period, floor_to
from viewcounter.queries.resolution import check_resolution
from viewcounter.queries.tiers import OPEN_END, OPEN_START, Slice, Tier, find_tiers, get_edges, plan_slices
from viewcounter.storage.ranges import Horizon

DAY = datetime(2026, 1, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(text):
    day, _, clock = text.partition(" ")
    hours, _, minutes = clock.partition(":")
    return datetime(2026, 1, int(day), int(hours or 0), int(minutes or 0), tzinfo=UTC)


def plan(*edges):
    return [(s.tier.value, s.start, s.end) for s in plan_slices([at(e) for e in edges])]


def test_whole_days_hours_and_ragged_ends_come_from_their_own_tier():
    assert plan("1 22:30", "5 01:15") == [
        ("minute", at("1 22:30"), at("1 23")),
        ("hour", at("1 23"), at("2")),
        ("day", at("2"), at("5")),
        ("hour", at("5"), at("5 01")),
        ("minute", at("5 01"), at("5 01:15")),
    ]


def test_a_period_within_an_hour_or_around_one_edge_is_read_from_minutes():
    assert plan("1 10:10", "1 10:20") == [("minute", at("1 10:10"), at("1 10:20"))]
    assert plan("1 10:59", "1 11:01") == [("minute", at("1 10:59"), at("1 11:01"))]
    assert plan("1 23", "2 01") == [("hour", at("1 23"), at("2 01"))]


def test_buckets_side_by_side_are_one_slice():
    assert plan(*(f"1 {hour}" for hour in range(24)), "2") == [("hour", at("1"), at("2"))]


def test_an_open_side_is_read_from_days():
    assert plan_slices(get_edges(Period(None, at("2 01")))) == [
        Slice(Tier.DAY, OPEN_START, at("2")),
        Slice(Tier.HOUR, at("2"), at("2 01")),
    ]
    assert plan_slices(get_edges(Period(at("1 23"), None))) == [
        Slice(Tier.HOUR, at("1 23"), at("2")),
        Slice(Tier.DAY, at("2"), OPEN_END),
    ]
    assert plan_slices(get_edges(Period(at("2"), at("2")))) == []


@given(
    start=st.integers(-3000, 3000),
    lengths=st.lists(st.sampled_from([1, 15, 30, 60, 75, 1380, 1440, 1500, 4321]), min_size=1, max_size=8),
)
def test_slices_cover_the_period_once_at_edges_of_their_tier_and_cross_no_bucket(start, lengths):
    edges = [DAY + start * MINUTE]
    for length in lengths:
        edges.append(edges[-1] + length * MINUTE)
    slices = plan_slices(edges)
    assert [slices[0].start, *(s.end for s in slices)] == [*(s.start for s in slices), edges[-1]]
    for s in slices:
        assert s.start < s.end
        assert (s.start - EPOCH) % s.tier.width == (s.end - EPOCH) % s.tier.width == timedelta(0)
        for edge in edges:
            assert not s.start < edge < s.end or (edge - EPOCH) % s.tier.width == timedelta(0)
    for tier, coarser in ((Tier.MINUTE, Tier.HOUR), (Tier.HOUR, Tier.DAY)):
        for low, high in itertools.pairwise(edges):
            first = floor_to(low + coarser.width - MINUTE, coarser.width)
            whole = [s for s in slices if s.tier is tier and s.start <= first and first + coarser.width <= s.end]
            assert not (whole and first + coarser.width <= high), "a coarser bucket would have answered"


ROLLED = Horizon(rolled_through=at("20 05"), minutes_since=at("12 03"), hours_since=at("5"))


def tiers_of(start, end):
    return {t.value for t in find_tiers(plan_slices(get_edges(Period(start and at(start), end and at(end)))), ROLLED)}


def test_sources_are_the_tiers_that_are_rolled_far_enough():
    assert tiers_of("1", "5") == {"day"}
    assert tiers_of("1", "5 01") == {"day", "hour"}
    assert tiers_of("1", "21") == {"day", "hour", "minute"}
    assert tiers_of("20", "20 05") == {"hour"}
    assert tiers_of("20", "20 06") == {"hour", "minute"}
    assert tiers_of("20 05", "21") == {"minute"}
    assert tiers_of(None, None) == {"day", "hour", "minute"}


def refusal(start, end, *, interval=None, buckets=()):
    period = Period(at(start), at(end))
    slices = plan_slices(get_edges(period, [at(b) for b in buckets]))
    with pytest.raises(InvalidQuery) as caught:
        check_resolution(slices, ROLLED, period=period, interval=interval)
    assert caught.value.code == "resolution_expired"
    return caught.value.field, caught.value.message


def test_a_period_whose_rows_retention_deleted_is_refused_with_a_hint():
    field, message = refusal("10 01:30", "13")
    assert field == "start_time"
    assert message == (
        "needs minutes before 2026-01-12T03:00Z, where only hours are kept: "
        "the nearest edges are 2026-01-10T01:00Z and 2026-01-10T02:00Z"
    )
    field, message = refusal("10", "12 02:59")
    assert field == "end_time"
    assert message.endswith("2026-01-12T02:00Z and 2026-01-12T03:00Z")
    field, message = refusal("2 01", "13")
    assert field == "start_time"
    assert message == (
        "needs hours before 2026-01-05T00:00Z, where only days are kept: "
        "the nearest edges are 2026-01-02T00:00Z and 2026-01-03T00:00Z"
    )
    field, message = refusal("2 01:30", "13")
    assert field == "start_time"
    assert message.endswith("only days are kept: the nearest edges are 2026-01-02T00:00Z and 2026-01-03T00:00Z")


def test_an_interval_or_zone_that_needs_deleted_rows_is_named():
    assert refusal("10", "13", interval=Interval.MINUTE, buckets=["10", "10 00:01"])[0] == "interval"
    assert refusal("2", "13", interval=Interval.HOUR, buckets=["2", "2 01"])[0] == "interval"
    assert refusal("2", "13", interval=Interval.DAY, buckets=["1 23", "2 23"])[0] == "tz"
    assert refusal("8", "13", interval=Interval.DAY, buckets=["7 18:15", "8 18:15"])[0] == "tz"


def test_what_is_kept_is_answered():
    for start, end, buckets in (
        ("12 03:01", "19", ()),
        ("5", "12 04:30", ()),
        ("5", "9", ("4 23", "5 23")),
        ("1", "4", ("1", "2")),
    ):
        period = Period(at(start), at(end))
        slices = plan_slices(get_edges(period, [at(b) for b in buckets]))
        check_resolution(slices, ROLLED, period=period, interval=None)

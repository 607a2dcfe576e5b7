"""Plans of days in parts: every minute is read once, from the coarsest rows that have it."""

from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from viewcounter.queries.ranges import EPOCH, MINUTE, Period, floor_to
from viewcounter.queries.splits import QUARTER, DayPart, StandIn, plan_split
from viewcounter.queries.tiers import OPEN_END, OPEN_START, Slice, Tier, get_edges

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def at(text):
    day, _, clock = text.partition(" ")
    hours, _, minutes = clock.partition(":")
    return datetime(2026, 1, int(day), int(hours or 0), int(minutes or 0), tzinfo=UTC)


def test_local_days_off_the_hour_are_parts_of_rows_of_days():
    plan = plan_split([at("1 18:30"), at("2 18:30"), at("3 18:30")])
    assert plan.slices == (Slice(Tier.PARTS, at("1"), at("4")),)
    assert plan.parts == (
        DayPart(at("1"), 74, 96, 1),
        DayPart(at("2"), 0, 74, 1),
        DayPart(at("2"), 74, 96, 2),
        DayPart(at("3"), 0, 74, 2),
    )
    assert [stand_in for stand_in in plan.fallback if stand_in.day == at("2")] == [
        StandIn(at("2"), Slice(Tier.HOUR, at("2"), at("2 18"))),
        StandIn(at("2"), Slice(Tier.MINUTE, at("2 18"), at("2 19"))),
        StandIn(at("2"), Slice(Tier.HOUR, at("2 19"), at("3"))),
    ]
    assert plan.resolution == 15


def test_whole_days_are_not_split_and_minutes_only_where_quarters_do_not_reach():
    plan = plan_split([at("1 10:07"), at("4 11:00")])
    assert plan.slices == (
        Slice(Tier.MINUTE, at("1 10:07"), at("1 10:15")),
        Slice(Tier.DAY, at("2"), at("4")),
        Slice(Tier.PARTS, at("1"), at("2")),
        Slice(Tier.PARTS, at("4"), at("5")),
    )
    assert plan.parts == (DayPart(at("1"), 41, 96, 1), DayPart(at("4"), 0, 44, 1))


def test_a_day_cut_within_a_quarter_is_split_once():
    plan = plan_split([at("1"), at("1 10:07"), at("2")])
    assert [s for s in plan.slices if s.tier is Tier.PARTS] == [Slice(Tier.PARTS, at("1"), at("2"))]
    assert [s for s in plan.slices if s.tier is Tier.MINUTE] == [Slice(Tier.MINUTE, at("1 10"), at("1 10:15"))]


def test_hours_of_a_zone_on_the_hour_need_no_finer_parts():
    assert plan_split([at("1 23"), at("2 23")]).resolution == 60
    assert plan_split([at("1"), at("3")]).resolution == 60
    assert plan_split([at("1 23"), at("2 22:45")]).resolution == 15


def test_open_sides_are_whole_days():
    plan = plan_split(get_edges(Period(None, at("2 01"))))
    assert plan.slices == (Slice(Tier.DAY, OPEN_START, at("2")), Slice(Tier.PARTS, at("2"), at("3")))
    assert plan_split(get_edges(Period(at("2"), None))).slices == (Slice(Tier.DAY, at("2"), OPEN_END),)
    assert plan_split(get_edges(Period(at("2"), at("2")))).slices == ()


@given(
    start=st.integers(-3000, 3000),
    lengths=st.lists(st.sampled_from([1, 5, 7, 15, 30, 45, 60, 75, 1380, 1440, 1500, 4321]), min_size=1, max_size=8),
)
def test_every_minute_is_read_once_in_its_bucket_with_parts_or_with_their_stand_ins(start, lengths):
    edges = [DAY + start * MINUTE]
    for length in lengths:
        edges.append(edges[-1] + length * MINUTE)
    plan = plan_split(edges)
    split = [s for s in plan.slices if s.tier is Tier.PARTS]
    days = [s.start + n * timedelta(days=1) for s in split for n in range((s.end - s.start).days)]
    assert sorted({part.day for part in plan.parts}) == days
    pieces = [(s.start, s.end) for s in plan.slices if s.tier is not Tier.PARTS]
    parts = [(part.day + part.first * QUARTER, part.day + part.last * QUARTER) for part in plan.parts]
    stand_ins = [(stand_in.slice.start, stand_in.slice.end) for stand_in in plan.fallback]
    whole = Counter({edges[0] + n * MINUTE: 1 for n in range((edges[-1] - edges[0]) // MINUTE)})
    assert count_minutes(pieces + parts) == count_minutes(pieces + stand_ins) == whole
    assert [part.bucket for part in plan.parts] == [bisect_right(edges, first) for first, _ in parts]
    for first, last in parts:
        assert not [edge for edge in edges if first < edge < last]
        assert last - first < timedelta(days=1)
    for stand_in in plan.fallback:
        assert floor_to(stand_in.slice.start, timedelta(days=1)) == stand_in.day
        assert stand_in.slice.end <= stand_in.day + timedelta(days=1)
        width = stand_in.slice.tier.width
        assert (stand_in.slice.start - EPOCH) % width == (stand_in.slice.end - EPOCH) % width == timedelta(0)
    for s in plan.slices:
        inside = [edge for edge in edges if s.start < edge < s.end]
        assert s.tier is Tier.PARTS or all((edge - EPOCH) % s.tier.width == timedelta(0) for edge in inside)


def count_minutes(pieces):
    return Counter(first + n * MINUTE for first, last in pieces for n in range((last - first) // MINUTE))

"""Periods cut by the clocks and calendars of zones."""

from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.queries.wall_clock import QUARTER, ZONES, find_bucket_start, find_step, get_label
from viewcounter.queries.buckets import list_buckets
from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import ALL_TIME, MINUTE, Interval, Period
from viewcounter.queries.zones import get_zone

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
CHANGES = [  # clocks of one of the zones change on this day
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 4, tzinfo=UTC),
    datetime(2026, 4, 24, tzinfo=UTC),
    datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
]


def list_local(zone_name, interval, start, end, *, max_buckets=1500):
    zone = get_zone(zone_name)
    period = Period(datetime.fromisoformat(start).astimezone(UTC), datetime.fromisoformat(end).astimezone(UTC))
    buckets = list_buckets(period, interval, zone=zone, max_buckets=max_buckets)
    return [b.astimezone(zone).isoformat(timespec="minutes") for b in buckets]


def code_of(period, interval, *, max_buckets=1500):
    with pytest.raises(InvalidQuery) as caught:
        list_buckets(period, interval, zone=UTC, max_buckets=max_buckets)
    return caught.value.field, caught.value.code


@given(
    day=st.sampled_from(CHANGES),
    quarters=st.integers(-200, 200),
    length=st.integers(0, 400),
    interval=st.sampled_from([i for i in Interval if i is not Interval.MINUTE]),
    zone_name=st.sampled_from(ZONES),
    week_start=st.sampled_from(WeekStart),
)
def test_buckets_are_the_runs_of_instants_for_which_the_wall_clock_says_the_same(
    *, day, quarters, length, interval, zone_name, week_start
):
    start = day + quarters * QUARTER
    period = Period(start, start + length * QUARTER)
    step = find_step(interval)
    instants = [start + n * step for n in range((period.end - start) // step)]
    runs = [next(run) for _, run in groupby(instants, key=lambda i: get_label(i, interval, zone_name, week_start))]
    if runs:
        runs[0] = find_bucket_start(runs[0], interval, zone_name, week_start)
    buckets = list_buckets(period, interval, zone=get_zone(zone_name), max_buckets=1500, week_start=week_start)
    assert buckets == runs


@given(start=st.datetimes(datetime(1880, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), data=st.data())
def test_buckets_ascend_and_cover_the_period_from_its_start_whatever_the_century(start, data):
    start = start.replace(second=0, microsecond=0)
    period = Period(start, start + data.draw(st.integers(1, 2000)) * MINUTE)
    zone = get_zone(data.draw(st.sampled_from([*ZONES, "Pacific/Apia", "America/Sao_Paulo", "Africa/Monrovia"])))
    buckets = list_buckets(period, data.draw(st.sampled_from(Interval)), zone=zone, max_buckets=3000)
    assert buckets[0] <= period.start
    assert all(a < b for a, b in pairwise(buckets))
    assert buckets[-1] < period.end
    assert all(b > period.start for b in buckets[1:])


def test_a_repeated_hour_is_two_buckets_told_apart_by_their_offsets():
    assert list_local("Europe/Berlin", Interval.HOUR, "2026-10-25T01:00+02:00", "2026-10-25T04:00+01:00") == [
        "2026-10-25T01:00+02:00",
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_a_skipped_hour_is_no_bucket():
    assert list_local("America/New_York", Interval.HOUR, "2026-03-08T01:00-05:00", "2026-03-08T04:00-04:00") == [
        "2026-03-08T01:00-05:00",
        "2026-03-08T03:00-04:00",
    ]


def test_days_have_23_and_25_hours_when_clocks_change():
    zone = get_zone("Europe/Berlin")
    for month, day, hours in ((3, 29, 23), (10, 25, 25), (6, 1, 24)):
        start = datetime(2026, month, day, tzinfo=zone).astimezone(UTC)
        first, second = list_buckets(
            Period(start, start + timedelta(hours=hours, minutes=1)), Interval.DAY, zone=zone, max_buckets=9
        )
        assert (first, second - first) == (start, timedelta(hours=hours))


def test_a_change_by_half_an_hour_makes_two_buckets_of_its_hour():
    assert list_local("Australia/Lord_Howe", Interval.HOUR, "2026-04-05T00:00+11:00", "2026-04-05T03:00+10:30") == [
        "2026-04-05T00:00+11:00",
        "2026-04-05T01:00+11:00",
        "2026-04-05T01:30+10:30",
        "2026-04-05T02:00+10:30",
    ]
    assert list_local("Australia/Lord_Howe", Interval.HOUR, "2026-10-04T01:00+10:30", "2026-10-04T04:00+11:00") == [
        "2026-10-04T01:00+10:30",
        "2026-10-04T02:30+11:00",
        "2026-10-04T03:00+11:00",
    ]


def test_days_hours_and_quarters_of_a_zone_with_45_minutes_begin_at_its_own_edges():
    assert list_local("Asia/Kathmandu", Interval.DAY, "2026-01-31T12:00+00:00", "2026-02-01T18:16+00:00") == [
        "2026-01-31T00:00+05:45",
        "2026-02-01T00:00+05:45",
        "2026-02-02T00:00+05:45",
    ]
    assert list_local("Asia/Kathmandu", Interval.HOUR, "2026-01-31T00:15+00:00", "2026-01-31T01:30+00:00") == [
        "2026-01-31T06:00+05:45",
        "2026-01-31T07:00+05:45",
    ]


def test_weeks_begin_on_monday_and_months_on_the_first():
    assert list_local("Europe/Berlin", Interval.WEEK, "2026-10-25T12:00+01:00", "2026-11-03T00:00+01:00") == [
        "2026-10-19T00:00+02:00",
        "2026-10-26T00:00+01:00",
        "2026-11-02T00:00+01:00",
    ]
    assert list_local("America/New_York", Interval.MONTH, "2026-01-31T23:59-05:00", "2026-12-01T00:00-05:00") == [
        f"2026-{month:02d}-01T00:00-0{4 if 4 <= month <= 11 else 5}:00" for month in range(1, 12)
    ]


@pytest.mark.parametrize(
    ("week_start", "starts"),
    [(WeekStart.SUNDAY, ["10-25", "11-01"]), (WeekStart.SATURDAY, ["10-24", "10-31"])],
)
def test_a_week_begins_on_the_day_that_is_asked_for(week_start, starts):
    zone = get_zone("Europe/Berlin")
    period = Period(datetime(2026, 10, 28, tzinfo=zone), datetime(2026, 11, 2, tzinfo=zone))
    buckets = list_buckets(period, Interval.WEEK, zone=zone, max_buckets=9, week_start=week_start)
    assert [f"{bucket.astimezone(zone):%m-%d}" for bucket in buckets] == starts


def test_quarters_and_years_begin_in_january():
    assert list_local("America/New_York", Interval.QUARTER, "2026-02-28T00:00-05:00", "2027-01-01T00:01-05:00") == [
        "2026-01-01T00:00-05:00",
        "2026-04-01T00:00-04:00",
        "2026-07-01T00:00-04:00",
        "2026-10-01T00:00-04:00",
        "2027-01-01T00:00-05:00",
    ]
    assert list_local("Asia/Kolkata", Interval.YEAR, "2024-06-01T00:00+05:30", "2027-01-01T00:00+05:30") == [
        f"{year}-01-01T00:00+05:30" for year in (2024, 2025, 2026)
    ]


def test_a_day_begins_rightly_where_clocks_skip_or_repeat_midnight():
    assert list_local("Africa/Cairo", Interval.DAY, "2026-04-23T12:00+02:00", "2026-04-24T12:00+03:00") == [
        "2026-04-23T00:00+02:00",
        "2026-04-24T01:00+03:00",
    ]
    assert list_local("America/Havana", Interval.DAY, "2026-10-31T12:00-04:00", "2026-11-01T12:00-05:00") == [
        "2026-10-31T00:00-04:00",
        "2026-11-01T00:00-04:00",
    ]


def test_a_date_that_never_happened_is_no_bucket():
    assert list_local("Pacific/Apia", Interval.DAY, "2011-12-29T12:00-10:00", "2012-01-01T00:00+14:00") == [
        "2011-12-29T00:00-10:00",
        "2011-12-31T00:00+14:00",
    ]


def test_a_period_that_ends_at_an_edge_does_not_touch_the_next_bucket():
    period = Period(start=NOON, end=NOON + timedelta(hours=1))
    assert list_buckets(period, Interval.HOUR, zone=UTC, max_buckets=1) == [NOON]
    assert list_buckets(Period(NOON, NOON), Interval.MONTH, zone=UTC, max_buckets=1) == []


def test_ten_years_by_minute_are_refused_with_the_bound_and_the_number_asked():
    period = Period(start=datetime(2016, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidQuery) as caught:
        list_buckets(period, Interval.MINUTE, zone=UTC, max_buckets=1500)
    assert (caught.value.field, caught.value.code) == ("interval", "too_many_buckets")
    assert "5260320" in caught.value.message
    assert "1500" in caught.value.message


def test_the_bound_itself_is_allowed_and_one_more_is_refused():
    period = Period(start=NOON, end=NOON + timedelta(minutes=1500))
    assert len(list_buckets(period, Interval.MINUTE, zone=UTC, max_buckets=1500)) == 1500
    longer = Period(start=NOON, end=NOON + timedelta(minutes=1501))
    assert code_of(longer, Interval.MINUTE) == ("interval", "too_many_buckets")


@pytest.mark.parametrize(
    ("period", "field"),
    [(ALL_TIME, "start_time"), (Period(None, NOON), "start_time"), (Period(NOON, None), "end_time")],
)
def test_an_interval_needs_both_edges(period, field):
    assert code_of(period, Interval.DAY) == (field, "required")


@pytest.mark.parametrize("interval", [Interval.WEEK, Interval.MONTH, Interval.QUARTER, Interval.YEAR])
@pytest.mark.parametrize("year", [1, 9999])
def test_local_time_beyond_the_calendar_is_refused(year, interval):
    start = datetime(1, 1, 1, tzinfo=UTC) if year == 1 else datetime(9999, 12, 31, 20, tzinfo=UTC)
    for name in ("America/New_York", "Asia/Kathmandu"):
        try:
            buckets = list_buckets(
                Period(start, start + timedelta(hours=2)), interval, zone=get_zone(name), max_buckets=9
            )
        except InvalidQuery as error:
            assert (error.field, error.code) == ("start_time", "invalid_time")
        else:
            assert len(buckets) == 1

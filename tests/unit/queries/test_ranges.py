from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import (
    ALL_TIME,
    Interval,
    Period,
    check_buckets,
    count_buckets,
    effective_period,
    enumerate_buckets,
    floor_to,
    parse_instant,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
instants = st.datetimes(min_value=datetime(1960, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))


def code_of(call):
    with pytest.raises(InvalidQuery) as caught:
        call()
    return caught.value.field, caught.value.code


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31T13:00:00+01:00", NOON),
        ("2026-01-31T06:30:00-05:30", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-01-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
    ],
)
def test_an_rfc_3339_time_is_read_as_utc(text, instant):
    assert parse_instant("start_time", text) == instant


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-01-31T12:00:00", "missing_offset"),
        ("2026-01-31", "missing_offset"),
        ("2026-01-31T12:00:00 01:00", "invalid_time"),
        ("2026-02-30T12:00:00Z", "invalid_time"),
        ("0001-01-01T00:00:00+23:00", "invalid_time"),
        ("9999-12-31T23:59:59-23:00", "invalid_time"),
        ("2026-01-31T25:00:00Z", "invalid_time"),
        ("2026-W05-6T12:00:00Z", "invalid_time"),
        ("20260131T120000Z", "invalid_time"),
        ("٢٠٢٦-01-31T12:00:00Z", "invalid_time"),
        ("1769860800", "invalid_time"),
        ("yesterday", "invalid_time"),
        ("", "invalid_time"),
    ],
)
def test_any_other_time_is_refused_by_name(text, code):
    assert code_of(lambda: parse_instant("end_time", text)) == ("end_time", code)


def test_a_plus_that_the_url_turned_into_a_space_is_explained():
    with pytest.raises(InvalidQuery, match="%2B"):
        parse_instant("start_time", "2026-01-31T12:00:00 01:00")


def test_edges_are_rounded_down_to_the_minute_in_utc():
    berlin = timezone(timedelta(hours=1))
    period = effective_period(start=datetime(2026, 1, 31, 13, 0, 59, 999999, berlin), end=NOON + timedelta(seconds=61))
    assert period == Period(start=NOON, end=NOON + timedelta(minutes=1))


def test_open_sides_stay_open():
    assert effective_period(start=None, end=None) == ALL_TIME
    assert effective_period(start=NOON, end=None) == Period(start=NOON, end=None)


def test_an_end_before_the_start_is_refused_and_an_empty_period_is_not():
    assert code_of(lambda: effective_period(start=NOON, end=NOON - timedelta(microseconds=1))) == (
        "end_time",
        "end_before_start",
    )
    assert count_buckets(effective_period(start=NOON, end=NOON), Interval.MINUTE) == 0


def test_a_naive_time_is_refused():
    naive = datetime(2026, 1, 31)
    assert code_of(lambda: effective_period(start=None, end=naive)) == ("end_time", "missing_offset")


def test_buckets_of_a_ragged_period_begin_at_the_bucket_that_holds_its_start():
    period = Period(start=NOON + timedelta(minutes=30), end=NOON + timedelta(hours=2, minutes=1))
    assert list(enumerate_buckets(period, Interval.HOUR)) == [NOON + timedelta(hours=h) for h in (0, 1, 2)]
    assert list(enumerate_buckets(period, Interval.DAY)) == [datetime(2026, 1, 31, tzinfo=UTC)]


def test_a_period_that_ends_at_an_edge_does_not_touch_the_next_bucket():
    period = Period(start=NOON, end=NOON + timedelta(hours=1))
    assert list(enumerate_buckets(period, Interval.HOUR)) == [NOON]


def test_ten_years_by_minute_are_refused_with_the_bound_and_the_number_asked():
    period = Period(start=datetime(2016, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidQuery) as caught:
        check_buckets(period, Interval.MINUTE, max_buckets=1500)
    assert (caught.value.field, caught.value.code) == ("interval", "too_many_buckets")
    assert "5260320" in caught.value.message
    assert "1500" in caught.value.message


def test_the_bound_itself_is_allowed():
    period = Period(start=NOON, end=NOON + timedelta(minutes=1500))
    check_buckets(period, Interval.MINUTE, max_buckets=1500)
    longer = Period(start=NOON, end=NOON + timedelta(minutes=1501))
    assert code_of(lambda: check_buckets(longer, Interval.MINUTE, max_buckets=1500))[1] == "too_many_buckets"


@pytest.mark.parametrize(
    ("period", "field"),
    [(ALL_TIME, "start_time"), (Period(None, NOON), "start_time"), (Period(NOON, None), "end_time")],
)
def test_an_interval_needs_both_edges(period, field):
    assert code_of(lambda: check_buckets(period, Interval.DAY, max_buckets=1500)) == (field, "required")


@given(start=instants, minutes=st.integers(0, 3000), interval=st.sampled_from(Interval))
def test_every_minute_of_a_period_falls_into_exactly_one_of_its_buckets(start, minutes, interval):
    start = floor_to(start, timedelta(minutes=1))
    period = Period(start=start, end=start + timedelta(minutes=minutes))
    buckets = list(enumerate_buckets(period, interval))
    assert len(buckets) == count_buckets(period, interval)
    touched = sorted({floor_to(start + timedelta(minutes=m), interval.width) for m in range(minutes)})
    assert buckets == touched


@given(instant=instants, interval=st.sampled_from(Interval))
def test_a_bucket_start_is_an_edge_of_the_utc_calendar(instant, interval):
    floored = floor_to(instant, interval.width)
    assert floored <= instant < floored + interval.width
    replaced = {"second": 0, "microsecond": 0}
    if interval is not Interval.MINUTE:
        replaced["minute"] = 0
    if interval is Interval.DAY:
        replaced["hour"] = 0
    assert floored == instant.replace(**replaced)

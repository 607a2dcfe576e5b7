from datetime import UTC, datetime, timedelta, timezone

import pytest

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import ALL_TIME, Period, effective_period, parse_instant

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


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
    assert effective_period(start=NOON, end=NOON) == Period(start=NOON, end=NOON)


def test_a_naive_time_is_refused():
    naive = datetime(2026, 1, 31)
    assert code_of(lambda: effective_period(start=None, end=naive)) == ("end_time", "missing_offset")

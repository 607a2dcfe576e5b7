"""The earlier period by the calendar of a zone, and the difference from it."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.queries.wall_clock import ZONES
from viewcounter.queries.comparing import Compare, PeriodDifference, get_compared, plan_compared, subtract
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import ALL_TIME, MINUTE, Interval, Period
from viewcounter.queries.zones import get_zone

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def compare(
    kind: Compare, zone_name: str, start: str, end: str, *, interval: Interval | None = None
) -> tuple[str, str]:
    """All times are on the clock of the zone."""
    zone = get_zone(zone_name)
    edges = [datetime.fromisoformat(edge).replace(tzinfo=zone).astimezone(UTC) for edge in (start, end)]
    compared = plan_compared(Period(*edges), kind, zone=zone, interval=interval)
    assert compared.start is not None
    assert compared.end is not None
    first, last = (edge.astimezone(zone).replace(tzinfo=None) for edge in (compared.start, compared.end))
    return f"{first:%Y-%m-%dT%H:%M}", f"{last:%Y-%m-%dT%H:%M}"


def test_a_period_of_times_is_compared_with_the_same_length_before_it() -> None:
    period = Period(START, START + timedelta(hours=36))
    assert plan_compared(period, Compare.PREVIOUS) == Period(START - timedelta(hours=36), START)


@pytest.mark.parametrize(
    ("zone", "start", "end", "previous"),
    [
        ("Europe/Berlin", "2026-07-01", "2026-08-01", "2026-06-01"),
        ("Asia/Kathmandu", "2026-03-01", "2026-04-01", "2026-02-01"),
        ("America/New_York", "2026-01-01", "2026-04-01", "2025-10-01"),
        ("UTC", "2025-01-01", "2026-01-01", "2024-01-01"),
        ("Europe/Berlin", "2026-07-02", "2026-08-02", "2026-06-01"),  # 31 days, not a month
        ("Europe/Berlin", "2026-10-26", "2026-10-27", "2026-10-25"),  # the day of 25 hours
        ("Europe/Berlin", "2026-03-30", "2026-03-31", "2026-03-29"),  # the day of 23 hours
        ("Europe/Berlin", "2026-10-26", "2026-11-02", "2026-10-19"),
        ("+05:30", "2026-07-01", "2026-08-01", "2026-06-01"),
        ("Pacific/Apia", "2011-12-31", "2012-01-01", "2011-12-29"),  # there was no 30 December
    ],
)
def test_whole_dates_are_compared_with_the_dates_before_them(zone: str, start: str, end: str, previous: str) -> None:
    assert compare(Compare.PREVIOUS, zone, start, end) == (f"{previous}T00:00", f"{start}T00:00")


def test_the_calendar_is_that_of_the_zone() -> None:
    edges = (datetime(2026, 6, 30, 22, tzinfo=UTC), datetime(2026, 7, 31, 22, tzinfo=UTC))  # July in Berlin
    june = Period(datetime(2026, 5, 31, 22, tzinfo=UTC), edges[0])
    assert plan_compared(Period(*edges), Compare.PREVIOUS, zone=get_zone("Europe/Berlin")) == june
    by_length = Period(datetime(2026, 5, 30, 22, tzinfo=UTC), edges[0])
    assert plan_compared(Period(*edges), Compare.PREVIOUS) == by_length


def test_by_week_months_are_compared_with_as_many_days() -> None:
    february = ("2027-02-01", "2027-03-01")  # four weeks
    assert compare(Compare.PREVIOUS, "UTC", *february, interval=Interval.WEEK)[0] == "2027-01-04T00:00"
    assert compare(Compare.PREVIOUS, "UTC", *february, interval=Interval.DAY)[0] == "2027-01-01T00:00"


@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        ("2026-07-01T00:00", "2026-08-01T00:00", ("2025-07-01T00:00", "2025-08-01T00:00")),
        ("2029-02-01T00:00", "2029-03-01T00:00", ("2028-02-01T00:00", "2028-03-01T00:00")),  # 28 days with 29
        ("2029-02-28T00:00", "2029-03-01T00:00", ("2028-02-28T00:00", "2028-02-29T00:00")),  # a day with a day
        ("2028-02-29T00:00", "2028-03-01T00:00", ("2027-02-28T00:00", "2027-03-01T00:00")),
        ("2028-02-28T00:00", "2028-02-29T00:00", ("2027-02-28T00:00", "2027-03-01T00:00")),
        ("2026-10-25T00:00", "2026-10-26T00:00", ("2025-10-25T00:00", "2025-10-26T00:00")),  # 25 hours with 24
        ("2028-01-01T00:00", "2028-07-15T12:30", ("2027-01-01T00:00", "2027-07-15T12:30")),  # the year so far
        ("2026-10-25T01:30", "2026-10-25T03:30", ("2025-10-25T01:30", "2025-10-25T03:30")),
        ("2028-02-28T22:00", "2028-02-29T02:00", ("2027-02-28T22:00", "2027-03-01T02:00")),
        ("2028-02-29T10:00", "2028-02-29T12:00", ("2027-02-28T10:00", "2027-02-28T12:00")),
        ("2028-02-29T22:00", "2028-03-01T02:00", ("2027-02-28T22:00", "2027-03-01T02:00")),
        ("2027-03-29T02:10", "2027-03-29T02:40", ("2026-03-29T03:10", "2026-03-29T03:40")),  # an hour that was skipped
    ],
)
def test_a_year_earlier_is_the_same_on_calendar_and_clock(start: str, end: str, before: tuple[str, str]) -> None:
    assert compare(Compare.YEAR, "Europe/Berlin", start, end) == before


def test_a_repeated_hour_is_compared_with_as_much_time() -> None:
    start = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, and an hour later again
    compared = plan_compared(Period(start, start + timedelta(hours=1)), Compare.YEAR, zone=get_zone("Europe/Berlin"))
    first = datetime(2025, 10, 25, 0, 30, tzinfo=UTC)
    assert compared == Period(first, first + timedelta(hours=1))


@given(
    first=st.dates(date(1990, 1, 1), date(2040, 1, 1)),
    days=st.integers(1, 800),
    zone_name=st.sampled_from([*ZONES, "Pacific/Apia"]),
    kind=st.sampled_from(Compare),
)
@example(date(2011, 12, 31), 1, "Pacific/Apia", Compare.PREVIOUS)
def test_whole_dates_stay_whole_dates(first: date, days: int, zone_name: str, kind: Compare) -> None:
    zone = get_zone(zone_name)
    midnights = [datetime.combine(day, datetime.min.time(), zone) for day in (first, first + timedelta(days=days))]
    period = Period(*(midnight.astimezone(UTC) for midnight in midnights))
    assert period.start is not None
    compared = plan_compared(period, kind, zone=zone) if period.start != period.end else period
    for edge in (compared.start, compared.end):
        assert edge is not None
        local = edge.astimezone(zone)
        assert (edge - MINUTE).astimezone(zone).date() < local.date()
    if kind is Compare.PREVIOUS:
        assert compared.end == period.start
    else:
        assert compared.start is not None
        assert timedelta(days=364) <= period.start - compared.start <= timedelta(days=367)


@given(
    start=st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    minutes=st.integers(1, 600_000),
    zone_name=st.sampled_from(ZONES),
    kind=st.sampled_from(Compare),
)
def test_an_earlier_period_has_minute_edges_and_is_not_empty(
    start: datetime, minutes: int, zone_name: str, kind: Compare
) -> None:
    start = start.replace(second=0, microsecond=0)
    compared = plan_compared(Period(start, start + minutes * MINUTE), kind, zone=get_zone(zone_name))
    assert compared.start is not None
    assert compared.end is not None
    assert compared.start < compared.end
    assert compared.start < start
    assert all((edge.second, edge.microsecond, edge.tzinfo) == (0, 0, UTC) for edge in (compared.start, compared.end))


@pytest.mark.parametrize("kind", Compare)
@pytest.mark.parametrize(
    ("period", "field", "code"),
    [
        (ALL_TIME, "start_time", "required"),
        (Period(None, START), "start_time", "required"),
        (Period(START, None), "end_time", "required"),
        (Period(START, START), "end_time", "empty_period"),
        (Period(datetime(1, 2, 1, tzinfo=UTC), START), "compare", "out_of_range"),
        (Period(datetime(1, 1, 1, tzinfo=UTC), datetime(1, 2, 1, tzinfo=UTC)), "compare", "out_of_range"),
    ],
)
def test_periods_without_an_earlier_one_are_refused(kind: Compare, period: Period, field: str, code: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        plan_compared(period, kind)
    assert (caught.value.field, caught.value.code) == (field, code)


@pytest.mark.parametrize(
    ("value", "before", "difference"),
    [
        (15, 10, PeriodDifference(5, 1.5)),
        (10, 15, PeriodDifference(-5, 0.666667)),
        (7, 0, PeriodDifference(7, None)),
        (0, 7, PeriodDifference(-7, 0.0)),
        (0, 0, PeriodDifference(0, None)),
        (0.3, 0.1, PeriodDifference(0.2, 3.0)),
        (10**30, 1, PeriodDifference(10**30 - 1, 1e30)),
        (None, 7, PeriodDifference(None, None)),
        (7, None, PeriodDifference(None, None)),
    ],
)
def test_difference(value: float | None, before: float | None, difference: PeriodDifference) -> None:
    assert subtract(value, before) == difference


def test_what_is_wrong_with_the_earlier_period_only_is_said_of_the_comparison() -> None:
    def ask(period: Period) -> None:
        raise InvalidQuery("start_time", "resolution_expired", "needs minutes that are gone")

    with pytest.raises(InvalidQuery, match="earlier period 2026-01-31T11:00Z to 2026-01-31T12:00Z") as caught:
        get_compared(ask, Period(START - timedelta(hours=1), START))
    assert (caught.value.field, caught.value.code) == ("compare", "resolution_expired")

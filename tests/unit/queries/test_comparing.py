"""The period before, and the difference from it."""

from datetime import UTC, datetime, timedelta

import pytest

from viewcounter.queries.comparing import PeriodDifference, get_previous, plan_previous, subtract
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import ALL_TIME, Period

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_the_previous_period_is_as_long_and_ends_where_this_one_begins() -> None:
    period = Period(START, START + timedelta(hours=36))
    assert plan_previous(period) == Period(START - timedelta(hours=36), START)


@pytest.mark.parametrize(
    ("period", "field", "code"),
    [
        (ALL_TIME, "start_time", "required"),
        (Period(None, START), "start_time", "required"),
        (Period(START, None), "end_time", "required"),
        (Period(START, START), "end_time", "empty_period"),
        (Period(datetime(2, 1, 1, tzinfo=UTC), START), "compare", "out_of_range"),
    ],
)
def test_periods_without_one_before_are_refused(period: Period, field: str, code: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        plan_previous(period)
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


def test_what_is_wrong_with_the_previous_period_only_is_said_of_the_comparison() -> None:
    def ask(period: Period) -> None:
        raise InvalidQuery("start_time", "resolution_expired", "needs minutes that are gone")

    with pytest.raises(InvalidQuery, match="previous period 2026-01-31T11:00Z to 2026-01-31T12:00Z") as caught:
        get_previous(ask, Period(START, START + timedelta(hours=1)))
    assert (caught.value.field, caught.value.code) == ("compare", "resolution_expired")

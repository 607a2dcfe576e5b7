"""Which day partitions of raw events are made."""

from datetime import date, timedelta

import pytest

from viewcounter.storage.raw_days import DAYS_AHEAD, GAP_MAX_DAYS, plan_raw_days

TODAY = date(2026, 11, 30)


def plan(newest: int | None) -> tuple[int, int]:
    """First and last day that are made, in days from today, as `newest` is."""
    days = plan_raw_days(TODAY, newest=None if newest is None else TODAY + timedelta(days=newest))
    offsets = [(day - TODAY).days for day in days]
    assert offsets == list(range(offsets[0], offsets[-1] + 1))
    return offsets[0], offsets[-1]


@pytest.mark.parametrize(
    ("newest", "first"),
    [
        (None, -1),
        (DAYS_AHEAD, -1),
        (-2, -1),
        (-3, -2),
        (-21, -20),
        (-400, -GAP_MAX_DAYS),
    ],
)
def test_days_are_made_from_where_they_ended_to_a_week_ahead(newest, first):
    assert plan(newest) == (first, DAYS_AHEAD)

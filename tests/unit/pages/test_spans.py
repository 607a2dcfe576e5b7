"""Periods of the pages: both halves as long, at edges that rows of hours or of days have."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from viewcounter.pages.figures import Trend, describe_change, join_bars
from viewcounter.pages.spans import DEFAULT_SPAN, SPANS, get_span
from viewcounter.queries.periods import Bucket

NOW = datetime(2026, 3, 30, 13, 46, 20, tzinfo=UTC)
"""A day after clocks went forward in Berlin."""


@pytest.mark.parametrize("span", SPANS, ids=[span.name for span in SPANS])
def test_the_period_before_ends_where_the_period_begins(span):
    for zone in (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")):
        period, before = span.plan(now=NOW, zone=zone)
        assert before.end == period.start
        assert before.start < before.end < period.end <= NOW + timedelta(hours=1)


def test_short_periods_end_with_the_current_hour():
    period, before = get_span("24h").plan(now=NOW, zone=UTC)
    assert period.end == datetime(2026, 3, 30, 14, tzinfo=UTC)
    assert period.end - period.start == period.start - before.start == timedelta(hours=24)


def test_long_periods_are_whole_days_of_the_zone():
    period, _ = get_span("28d").plan(now=NOW, zone=ZoneInfo("Europe/Berlin"))
    assert period.end == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert period.start == datetime(2026, 3, 1, 23, tzinfo=UTC)


def test_an_unknown_period_is_the_default():
    assert get_span("a fortnight") is DEFAULT_SPAN


def test_bars_join_buckets_and_lose_none():
    series = [Bucket(NOW + timedelta(hours=n), n) for n in range(7)]
    assert [(bar.start, bar.value) for bar in join_bars(series, size=3)] == [
        (NOW, 3),
        (NOW + timedelta(hours=3), 12),
        (NOW + timedelta(hours=6), 6),
    ]


@pytest.mark.parametrize(
    ("value", "before", "change"),
    [
        (150, 100, Trend("+50 %", "up")),
        (50, 100, Trend("-50 %", "down")),
        (7, 0, Trend("new", "up")),
        (7, 7, Trend("±0 %")),
        (0, 0, Trend()),
        (None, 7, Trend()),
    ],
)
def test_change_against_the_period_before(value, before, change):
    assert describe_change(value, before) == change

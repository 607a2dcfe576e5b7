"""The audit's plan of hours, and what is made of two sides that differ."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from viewcounter.maintenance.audit import Finding, HourAudit, group_differences, plan_hours
from viewcounter.storage.audit import Difference, Differences, Digested, Figures, LedgerHour

HOUR = timedelta(hours=1)
NOW = datetime(2026, 1, 31, 12, 34, tzinfo=UTC)
WEEK = 7 * 86400


def plan(now=NOW, *, closed=2, older=4, window=WEEK):
    return plan_hours(now, window_seconds=window, closed_hours=closed, older_hours=older)


def test_the_hours_closed_last_come_first_and_the_open_one_never():
    assert plan()[:2] == [datetime(2026, 1, 31, 11, tzinfo=UTC), datetime(2026, 1, 31, 10, tzinfo=UTC)]
    assert len(plan()) == len(set(plan())) == 6


def test_every_hour_of_the_window_has_its_turn_within_two_days():
    start = NOW.replace(minute=0)
    seen = {int((start + HOUR * run - hour) / HOUR) for run in range(48) for hour in plan(start + HOUR * run)}
    assert seen == set(range(1, 169))


@given(st.integers(1, 5), st.integers(0, 9), st.integers(3600, 40 * 3600), st.integers(0, 10**6))
def test_a_plan_stays_within_the_window_and_its_bounds(closed, older, window, minutes):
    now = NOW + timedelta(minutes=minutes)
    hours = plan(now, closed=closed, older=older, window=window)
    oldest = max(closed, window // 3600)
    assert all(now - hour >= HOUR and hour >= now.replace(minute=0) - HOUR * oldest for hour in hours)
    assert closed <= len(hours) == len(set(hours)) <= closed + older


def make_audit(*, counted=5, digest=7, raw=(5, 7), aggregate=5, unknown_ids=0, differences=None):
    return HourAudit(
        partition=3,
        hour=NOW,
        ledger=LedgerHour(received=counted, counted=counted, digest=digest),
        raw=raw and Digested(*raw),
        tier="minute",
        aggregate_count=aggregate,
        unknown_ids=unknown_ids,
        differences=differences or Differences(),
    )


def test_each_side_is_compared_with_the_ledger_and_missing_sides_are_not():
    def found(**sides):
        return [(f.comparison.value, f.drift_events) for f in make_audit(**sides).findings]

    assert found() == found(raw=None) == found(aggregate=None) == []
    assert found(raw=(6, 7)) == [("raw_count", 1)]
    assert found(raw=(3, 7)) == [("raw_count", 2)]
    assert found(raw=(5, 8)) == [("raw_digest", 0)]
    assert found(aggregate=9) == [("aggregate", 4)]
    assert found(unknown_ids=2) == [("ids", 2)]
    assert found(raw=(4, 7), aggregate=0) == [("raw_count", 1), ("aggregate", 5)]


def test_differences_make_one_finding_a_tier_that_counts_also_what_is_not_listed():
    rows = (
        Difference("minute", 3, "v", 1, NOW, Figures(5, 5, 1, 1), Figures(2, 2, 1, 1)),
        Difference("minute", 3, "v", 1, NOW + HOUR, None, Figures(4, 4, 1, 1)),
        Difference("total", 3, "v", 1, None, Figures(5, 5, 1, 1), Figures(5, 6, 1, 2)),
    )
    minute, total = group_differences(Differences(rows, {"minute": 90, "total": 1}))
    assert (minute.comparison, minute.drift_events, minute.differences) == ("minute", 7, rows[:2])
    assert minute.text.startswith("90 rows differ; the first: video v, event type 1, 2026-01-31T12:34Z: ")
    assert total == Finding(total.comparison, 0, total.text, rows[2:])

"""Which hour is rolled next."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from viewcounter.maintenance.rollup import get_target, plan_step
from viewcounter.storage.rollup import DAY, HOUR, RollupStep

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 2, 1, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def test_an_hour_is_due_once_the_watermark_is_the_grace_past_it():
    assert get_target(NOON + timedelta(seconds=299), grace_seconds=300) == NOON - HOUR
    assert get_target(NOON + timedelta(seconds=300), grace_seconds=300) == NOON


def test_an_hour_with_events_is_rolled_by_itself_and_the_last_one_closes_its_day():
    assert plan_step(NOON, next_hour=NOON, target=MIDNIGHT) == RollupStep(NOON, None, NOON + HOUR)
    last = MIDNIGHT - HOUR
    assert plan_step(last, next_hour=last, target=MIDNIGHT) == RollupStep(last, MIDNIGHT - DAY, MIDNIGHT)


def test_nothing_is_due_at_the_target_or_past_it():
    assert plan_step(NOON, next_hour=NOON, target=NOON) is None
    assert plan_step(NOON, next_hour=None, target=NOON - HOUR) is None


def test_hours_without_events_are_passed_in_one_step():
    assert plan_step(NOON, next_hour=None, target=NOON + 5 * HOUR) == RollupStep(None, None, NOON + 5 * HOUR)
    assert plan_step(NOON, next_hour=MIDNIGHT + 30 * DAY, target=MIDNIGHT + 60 * DAY) == RollupStep(
        None, MIDNIGHT - DAY, MIDNIGHT
    )
    assert plan_step(MIDNIGHT, next_hour=NOON + 30 * DAY, target=MIDNIGHT + 60 * DAY) == RollupStep(
        None, None, NOON + 30 * DAY
    )


def test_a_new_partition_passes_the_years_before_its_first_event_in_one_step():
    assert plan_step(NEVER, next_hour=NOON, target=MIDNIGHT) == RollupStep(None, None, NOON)
    assert plan_step(NEVER, next_hour=None, target=NOON) == RollupStep(None, None, NOON)


@given(
    hours_with_events=st.sets(st.integers(0, 200)),
    start=st.integers(0, 60),
    target=st.integers(0, 220),
)
def test_every_hour_with_events_is_rolled_and_every_day_with_events_closed_in_order(hours_with_events, start, target):
    base = MIDNIGHT
    rolled, days, now = [], [], base + start * HOUR
    goal = base + target * HOUR
    while True:
        found = [base + h * HOUR for h in sorted(hours_with_events) if base + h * HOUR >= now]
        step = plan_step(now, next_hour=found[0] if found else None, target=goal)
        if step is None:
            break
        assert now < step.rolled_through <= goal
        rolled += [step.hour] if step.hour else []
        days += [step.day] if step.day else []
        now = step.rolled_through
    due = [base + h * HOUR for h in sorted(hours_with_events) if start <= h < target]
    assert rolled == due
    closed = {h.replace(hour=0) for h in due if h.replace(hour=0) + DAY <= goal}
    assert closed <= set(days)
    assert days == sorted(set(days))
    assert now == max(goal, base + start * HOUR)

"""Whatever has been rolled, dirtied, replaced or removed: every answer equals brute force over the single events."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.processing.rolling import MINUTE, Event, Rolling
from tests.integration.queries.rows import compute
from tests.unit.queries.wall_clock import ZONES, find_bucket_start
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Function
from viewcounter.queries.periods import Fill, build_series, evaluate_whole, find_sources, plan_period
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.tiers import get_edges
from viewcounter.queries.top import merge_top
from viewcounter.queries.zones import get_zone

BASES = [  # clocks change within the days after: of Lord Howe, Berlin, New York and Havana, and of Berlin in spring
    datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 10, 24, tzinfo=UTC),
    datetime(2026, 10, 31, tzinfo=UTC),
    datetime(2026, 3, 28, tzinfo=UTC),
]
SPAN_MINUTES = 4 * 1440
VIDEOS = ["a", "b", "ünïcode-🎬"]
TYPES = [1, 6]

# Minutes near edges of hours and days are where a planner goes wrong.
offsets = st.one_of(
    st.integers(0, SPAN_MINUTES),
    st.builds(lambda hour, off: hour * 60 + off, st.integers(0, SPAN_MINUTES // 60), st.integers(-1, 1)),
    st.builds(
        lambda day, off: day * 1440 + off, st.integers(0, SPAN_MINUTES // 1440), st.sampled_from([-60, -1, 0, 1, 45])
    ),
)
events = st.lists(
    st.tuples(st.sampled_from(VIDEOS), st.sampled_from(TYPES), offsets, st.sampled_from([0, 1, 1000, 12_345, 10**12])),
    max_size=12,
)
actions = st.one_of(
    st.tuples(st.just("flush"), events, st.integers(0, 1500)),
    st.tuples(st.just("roll"), st.integers(1, 12)),
    st.tuples(st.just("roll"), st.just(1000)),
    st.tuples(
        st.just("retain"), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30), st.sampled_from([1, 3, 1000])
    ),
)
questions = st.tuples(
    st.sampled_from(Function),
    st.sampled_from(TYPES),
    st.lists(st.sampled_from(VIDEOS), min_size=1, max_size=3, unique=True),
    st.one_of(st.none(), offsets),
    st.one_of(st.none(), offsets),
    st.one_of(st.none(), st.sampled_from(Interval)),
    st.sampled_from(ZONES),
    st.sampled_from(Fill),
)


@pytest.fixture
def rolling(clean_cluster, shard_connection):
    return Rolling(clean_cluster, shard_connection)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.sampled_from(BASES),
    steps=st.lists(actions, min_size=2, max_size=10),
    asked=st.lists(questions, min_size=6, max_size=12),
    last_roll=st.integers(0, 60),
)
def test_every_function_range_interval_and_zone_equals_brute_force(rolling, base, steps, asked, last_roll):
    rolling.clear()
    watermark = base
    for action, *arguments in steps:
        if action == "flush":
            found, minutes = arguments
            watermark += minutes * MINUTE
            rolling.flush([Event(v, t, base + m * MINUTE, value) for v, t, m, value in found], watermark=watermark)
        elif action == "roll":
            rolling.roll(transactions=arguments[0])
        else:
            ids, minutes, hours, transactions = arguments
            rolling.retain(
                ids=timedelta(hours=ids),
                minutes=timedelta(hours=ids + minutes),
                hours=timedelta(hours=ids + minutes + 24 + hours),
                steps=transactions,
            )
    if last_roll:
        rolling.roll(transactions=last_roll)
    for question in asked:
        check_stats(rolling, base, question)
        check_top(rolling, base, question)


def check_stats(rolling, base, question):
    function, type_id, video_ids, start, end, interval, zone_name, fill = question
    period = make_period(base, start, end)
    if period.start is None or period.end is None:
        interval = None
    plan = plan_period(period, interval=interval, zone=get_zone(zone_name), max_buckets=6000)
    try:
        collected = rolling.read(plan, video_ids=video_ids, type_id=type_id)
    except InvalidQuery as error:
        check_refusal(error, rolling.get_state(), plan)
        return
    values = select(rolling, period, lambda e: e.video_id in video_ids and e.type_id == type_id)
    assert evaluate_whole(collected, function) == compute(function, [event.value for event in values])
    if interval is None:
        return
    buckets = defaultdict(list)
    for event in values:
        buckets[find_bucket_start(event.minute, interval, zone_name)].append(event.value)
    starts = sorted(buckets)
    if fill is Fill.ZERO:
        minutes = range((period.end - period.start) // MINUTE)
        starts = sorted({find_bucket_start(period.start + m * MINUTE, interval, zone_name) for m in minutes})
    series = build_series(plan, collected, function=function, fill=fill)
    # In UTC: times of different zones never compare equal within an hour that clocks repeat (PEP 495).
    found = [(b.start.astimezone(UTC), b.value) for b in series]
    assert found == [(s, compute(function, buckets.get(s, []))) for s in starts]
    zone = get_zone(zone_name)
    assert [b.start.isoformat() for b in series] == [s.astimezone(zone).isoformat() for s in starts]


def check_top(rolling, base, question):
    function, type_id, _, start, end, *_ = question
    period = make_period(base, start, end)
    if period.is_all_time:
        return
    plan = plan_period(period)
    rows = rolling.read_top(plan, function=function.value, type_id=type_id, limit=2)
    try:
        find_sources(rows, plan)
    except InvalidQuery as error:
        check_refusal(error, rolling.get_state(), plan)
        return
    found = [
        (compute(function, [e.value for e in own]), video_id)
        for video_id in VIDEOS
        if (own := select(rolling, period, lambda e, v=video_id: (e.video_id, e.type_id) == (v, type_id)))
    ]
    found.sort(key=lambda item: (-item[0], item[1]))
    items = merge_top(rows, function=function, limit=2)
    assert [(item.value, item.video_id) for item in items] == found[:2]


def make_period(base, start, end):
    if start is not None and end is not None:
        start, end = sorted((start, end))
    return Period(
        start=None if start is None else base + start * MINUTE, end=None if end is None else base + end * MINUTE
    )


def select(rolling, period, predicate):
    return [
        event
        for event in rolling.counted
        if predicate(event)
        and (period.start is None or event.minute >= period.start)
        and (period.end is None or event.minute < period.end)
    ]


def check_refusal(error, state, plan):
    """Only where an edge of the question lies within an hour or day of which nothing finer is kept."""
    assert error.code == "resolution_expired"
    inside = [edge for edge in get_edges(plan.period, plan.bucket_starts) if edge.year not in (1, 9999)]
    assert any(
        (edge.minute and edge < state["minutes_since"]) or ((edge.hour or edge.minute) and edge < state["hours_since"])
        for edge in inside
    )

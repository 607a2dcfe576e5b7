"""Whatever happens to events on their way, and to whom counts them: every answer equals brute force over a model.

Events come late, twice, out of order, in conflict, of unknown types; entries are cut at random; workers take turns and
die between any two statements; answers of COMMITs get lost; the shard goes back to an older state; hours are rolled,
rows removed and the log trimmed in between.

`--long` tries twenty times the examples.
"""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.processing.lifetime import CHANNEL, PARTITION, Lifetime
from tests.integration.queries.rows import compute
from tests.tiers import scale_examples
from tests.unit.processing.builders import uuid4_of
from tests.unit.queries.wall_clock import OFF_THE_QUARTER, ZONES, find_bucket_start
from viewcounter.eventlog.codec import AcceptedEvent
from viewcounter.events.partition import get_partition
from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.counts import get_channel_counts, get_counts
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Function
from viewcounter.queries.periods import Fill, plan_period
from viewcounter.queries.ranges import ALL_TIME, Interval, Period
from viewcounter.queries.sketched import SketchFunction, StatsFunction
from viewcounter.queries.stats import StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget
from viewcounter.queries.tiers import get_edges
from viewcounter.queries.top import TopQuery, get_top
from viewcounter.queries.zones import get_zone
from viewcounter.storage.raw_days import ensure_raw_days

MINUTE = timedelta(minutes=1)
BASES = [  # clocks change within the days after
    datetime(2025, 3, 28, tzinfo=UTC),  # Berlin, to summer time
    datetime(2025, 4, 4, tzinfo=UTC),  # Lord Howe, from summer time
    datetime(2025, 10, 24, tzinfo=UTC),  # Berlin, from summer time
    datetime(2025, 10, 31, tzinfo=UTC),  # New York and Havana
]
SPAN_MINUTES = 4 * 1440
BEGIN_MINUTES = 1500
"""So far into the span the log begins: most events are in the past by then, the others are sent later."""
MAX_BUCKETS = 6000
TYPES = {1: "view", 6: "watch_time"}
VALUED_TYPE = 6
UNKNOWN_TYPE = 99


class Draft(NamedTuple):
    """An event that may be sent any number of times. `id_offset` is the clock of a UUIDv7; None: a UUIDv4."""

    video: int
    type_id: int
    offset: int
    second: int
    value: int
    id_offset: int | None
    viewer: int


class Question(NamedTuple):
    """`edges` of the period in minutes after the base, in either order; None: open."""

    of: str
    function: StatsFunction
    type_id: int
    video: int
    edges: tuple[int | None, int | None]
    interval: Interval | None
    zone_name: str
    fill: Fill
    week_start: WeekStart = WeekStart.MONDAY


# Minutes near edges of hours and days are where a planner goes wrong.
def pick_offset(rng):
    match rng.randrange(3):
        case 0:
            return rng.randrange(SPAN_MINUTES)
        case 1:
            return rng.randrange(SPAN_MINUTES // 60) * 60 + rng.choice([-1, 0, 1])
    return rng.randrange(SPAN_MINUTES // 1440 + 1) * 1440 + rng.choice([-60, -1, 0, 1, 45])


def draft_events(rng, count):
    return [
        Draft(
            video=rng.choice([0, 0, 1, 2]),
            type_id=rng.choice([1, 1, 1, 6, 6, 6, 6, UNKNOWN_TYPE]),
            offset=pick_offset(rng),
            second=rng.choice([0, 1, 59]),
            value=rng.choice([0, 1, 1000, 12_345, 10**9]),
            id_offset=rng.choice([None, pick_offset(rng)]),
            viewer=rng.choice([0, 0, 7, -(2**63)]),
        )
        for _ in range(count)
    ]


randoms = st.integers(0, 2**32).map(random.Random)
offsets = randoms.map(pick_offset)
faults = st.one_of(st.none(), st.tuples(st.integers(1, 45), st.booleans()))
drains = st.builds(
    lambda *drain: ("drain", *drain), faults, st.integers(0, 1), st.sampled_from([1, 3, 8, 100]), st.integers(1, 4)
)
rolls = st.builds(
    lambda *roll: ("roll", *roll),
    faults,
    st.sampled_from([2, 7, 30, 1000, 1000]),
    st.sampled_from([0, 1, 5, 1000, 1000]),  # transactions that then make sketches
)
retentions = st.builds(
    lambda *retain: ("retain", *retain),
    faults,
    st.integers(1, 40),
    st.integers(0, 30),
    st.integers(1, 30),
    st.sampled_from([1, 5, 1000]),
)
plain = st.sampled_from([("save",), ("restore",), ("trim",), ("advance_idle",), ("forget_quarters",)])
questions = st.builds(
    Question,
    of=st.sampled_from(["video", "video", "channel", "top"]),
    function=st.sampled_from([*Function, *SketchFunction]),
    type_id=st.sampled_from(sorted(TYPES)),
    video=st.integers(0, 2),
    edges=st.tuples(st.one_of(offsets, offsets, offsets, st.none()), st.one_of(offsets, offsets, offsets, st.none())),
    interval=st.one_of(st.none(), st.sampled_from(Interval)),
    zone_name=st.sampled_from([*ZONES, OFF_THE_QUARTER]),
    fill=st.sampled_from(Fill),
    week_start=st.sampled_from(WeekStart),
)
rounds = st.tuples(
    randoms,
    st.integers(1, 6),  # entries
    st.integers(0, 900),  # minutes that pass
    st.lists(st.one_of(drains, drains, rolls, rolls, retentions, plain), min_size=2, max_size=6),
    st.lists(questions, max_size=2),
)


@pytest.fixture
def lifetime(clean_cluster, shard_connection):
    days = [day for base in BASES for day in ensure_raw_days(shard_connection, today=base.date())]
    lifetime = Lifetime(clean_cluster, shard_connection)
    yield lifetime
    lifetime.close()
    for day in days:
        shard_connection.execute(f"DROP TABLE raw_event_{day:%Y%m%d}")


@pytest.fixture
def videos(clean_cluster):
    count = clean_cluster.topology.partition_count
    names = [f"{prefix}{n}" for n in range(1000) for prefix in ("v", "ünïcode-🎬-")]
    return [name for name in names if get_partition(name, partition_count=count) == PARTITION][:3]


@settings(
    max_examples=scale_examples(20),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    base=st.sampled_from(BASES),
    drafted=st.builds(draft_events, randoms, st.integers(5, 40)),
    lived=st.lists(rounds, min_size=2, max_size=6),
    last_roll=st.integers(0, 60),
    asked=st.lists(questions, min_size=5, max_size=12),
)
def test_every_answer_equals_brute_force_after_any_history(lifetime, videos, *, base, drafted, lived, last_roll, asked):
    lifetime.begin(base + BEGIN_MINUTES * MINUTE, videos_of_channel=videos[:2])
    for rng, entry_count, minutes, steps, asked_meanwhile in lived:
        for _ in range(entry_count):
            lifetime.append([build_event(base, videos, drafted, rng) for _ in range(rng.randint(1, 8))])
        lifetime.now += minutes * MINUTE
        for step, *arguments in steps:
            take(lifetime, step, arguments)
        check_days(lifetime, base, videos)
        for question in asked_meanwhile:
            check_answers(lifetime, base, videos, question)
    lifetime.drain(worker=0, flush_max_events=5, read_entries=2)
    lifetime.check_tables()
    if last_roll:
        lifetime.roll(transactions=last_roll)
    check_days(lifetime, base, videos)
    lifetime.check_audit(sorted(lifetime.model.get_ledger())[::7])
    for question in asked:
        check_answers(lifetime, base, videos, question)


def take(lifetime, step, arguments):
    if step in ("save", "restore", "trim", "advance_idle", "forget_quarters"):
        getattr(lifetime, step)()
        return
    fault, *arguments = arguments
    lifetime.arm(fault and fault[0], answer_lost=bool(fault and fault[1]))
    match step:
        case "drain":
            worker, flush_max_events, read_entries = arguments
            lifetime.drain(worker=worker, flush_max_events=flush_max_events, read_entries=read_entries)
        case "roll":
            lifetime.roll(transactions=arguments[0])
            lifetime.sketch(transactions=arguments[1])
        case "retain":
            ids, minutes, hours, transactions = arguments
            lifetime.retain(
                ids=timedelta(hours=ids),
                minutes=timedelta(hours=ids + minutes),
                hours=timedelta(hours=ids + minutes + 24 + hours),
                transactions=transactions,
            )
    lifetime.arm(None, answer_lost=False)


def build_event(base, videos, drafted, rng):
    """A draft as it is or, under the same id, with another value or viewer or a minute later."""
    number = rng.randrange(len(drafted))
    draft, variant = drafted[number], rng.choice(["same"] * 6 + ["value", "time", "viewer"])
    base_minutes = int(base.timestamp()) // 60
    occurred_us = ((base_minutes + draft.offset + (variant == "time")) * 60 + draft.second) * 1_000_000
    event_id = uuid4_of(number)
    if draft.id_offset is not None:
        clock_ms = (base_minutes + draft.id_offset) * 60_000
        event_id = UUID(int=(clock_ms << 80) | (7 << 76) | (2 << 62) | number)
    value = draft.value + (variant == "value")
    viewer = draft.viewer ^ (variant == "viewer")
    return AcceptedEvent(event_id.bytes, videos[draft.video], draft.type_id, occurred_us, value, viewer)


def check_answers(lifetime, base, videos, question):
    """Of a video, of the channel that the first two belong to, or of the top list, through what the API calls."""
    period = make_period(base, *question.edges)
    if question.of == "top":
        if isinstance(question.function, SketchFunction):
            question = question._replace(function=Function.COUNT)
        check_top(lifetime, period, videos, question)
        return
    if isinstance(question.function, SketchFunction) and question.function.rank is not None:
        question = question._replace(type_id=VALUED_TYPE)
    options = {
        "event_type": TYPES[question.type_id],
        "function": question.function,
        "period": period,
        "interval": None if None in question.edges else question.interval,
        "fill": question.fill,
        "zone_name": question.zone_name,
        "week_start": question.week_start,
    }
    if question.of == "channel":
        of_videos = videos[:2]
        asked = StatsQuery(target=StatsTarget.channel(CHANNEL), **options)
        counts = get_channel_counts(lifetime.cluster, channel_id=CHANNEL, now=lifetime.now).counts
    else:
        of_videos = videos[question.video : question.video + 1]
        asked = StatsQuery(target=StatsTarget.video(of_videos[0]), **options)
        counts = get_counts(lifetime.cluster, video_id=of_videos[0], now=lifetime.now).video.counts
    for type_id, name in TYPES.items():
        assert counts[name] == len(select(lifetime, ALL_TIME, of_videos, type_id))
    try:
        answer = get_stats(lifetime.cluster, asked, max_buckets=MAX_BUCKETS, now=lifetime.now)
    except InvalidQuery as error:
        cut = {"interval": asked.interval, "zone": get_zone(asked.zone_name), "week_start": asked.week_start}
        plan = plan_period(period, max_buckets=MAX_BUCKETS, **cut)
        check = check_refusal_of_sketches if isinstance(question.function, SketchFunction) else check_refusal
        check(error, lifetime, plan)
        return
    events = select(lifetime, period, of_videos, question.type_id)
    assert answer.value == compute(question.function, [weigh(event, question.function) for event in events])
    if asked.interval is not None:
        check_series(answer.series, events, asked)
    if question.of == "video":
        assert answer.meta.complete_until == lifetime.get_state()["watermark"]


def check_days(lifetime, base, videos):
    """Whole days of UTC, the tier that is furthest from the events."""
    for type_id in TYPES:
        of_sketches = SketchFunction.P50 if type_id == VALUED_TYPE else SketchFunction.UNIQUE_VIEWERS
        for function in (Function.SUM, of_sketches):
            edges = (-1440, SPAN_MINUTES)
            question = Question("channel", function, type_id, 0, edges, Interval.DAY, "UTC", Fill.NONE)
            check_answers(lifetime, base, videos, question)


def check_series(series, events, asked):
    cut, zone_name, period = (asked.interval, asked.zone_name, asked.week_start), asked.zone_name, asked.period
    buckets = defaultdict(list)
    for event in events:
        buckets[find_bucket_start(event.minute, *cut)].append(weigh(event, asked.function))
    starts = sorted(buckets)
    if asked.fill is Fill.ZERO:
        minutes = range((period.end - period.start) // MINUTE)
        starts = sorted({find_bucket_start(period.start + m * MINUTE, *cut) for m in minutes})
    # In UTC: times of different zones never compare equal within an hour that clocks repeat (PEP 495).
    found = [(b.start.astimezone(UTC), b.value) for b in series]
    assert found == [(s, compute(asked.function, buckets.get(s, []))) for s in starts]
    zone = get_zone(zone_name)
    assert [b.start.isoformat() for b in series] == [s.astimezone(zone).isoformat() for s in starts]


def check_top(lifetime, period, videos, question):
    asked = TopQuery(
        event_type=TYPES[question.type_id], function=question.function, period=period, limit=question.video + 1
    )
    try:
        items = get_top(lifetime.cluster, asked, max_limit=3, now=lifetime.now).items
    except InvalidQuery as error:
        check_refusal(error, lifetime, plan_period(period))
        return
    found = [
        (compute(asked.function, [event.value for event in own]), video_id)
        for video_id in videos
        if (own := select(lifetime, period, [video_id], question.type_id))
    ]
    found.sort(key=lambda item: (-item[0], item[1].encode()))
    assert [(item.value, item.video_id) for item in items] == found[: asked.limit]


def make_period(base, start, end):
    if start is not None and end is not None:
        start, end = sorted((start, end))
    return Period(
        start=None if start is None else base + start * MINUTE, end=None if end is None else base + end * MINUTE
    )


def select(lifetime, period, video_ids, type_id):
    return [
        event
        for event in lifetime.model.counted
        if event.video_id in video_ids
        and event.type_id == type_id
        and (period.start is None or event.minute >= period.start)
        and (period.end is None or event.minute < period.end)
    ]


def weigh(event, function):
    """What the function is of."""
    return event.viewer if function is SketchFunction.UNIQUE_VIEWERS else event.value


def check_refusal(error, lifetime, plan):
    """Only where an edge lies within a quarter hour of which nothing finer is kept, or a day rolled by an earlier
    release, of which nothing finer is kept."""
    state = lifetime.get_state()
    inside = [edge for edge in get_edges(plan.period, plan.bucket_starts) if edge.year not in (1, 9999)]
    if error.code == "resolution_expired":
        assert any(edge.minute % 15 and edge < state["minutes_since"] for edge in inside)
        return
    assert error.code == "not_available"
    assert any(
        (edge.minute and edge < state["minutes_since"]) or ((edge.hour or edge.minute) and edge < state["hours_since"])
        for edge in inside
    )
    assert lifetime.count_coarse_days() > 0


def check_refusal_of_sketches(error, lifetime, plan):
    """Only where an edge of the question lies within an hour or day of which nothing finer is kept."""
    assert error.code == "resolution_expired"
    state = lifetime.get_state()
    inside = [edge for edge in get_edges(plan.period, plan.bucket_starts) if edge.year not in (1, 9999)]
    assert any(
        (edge.minute and edge < state["minutes_since"]) or ((edge.hour or edge.minute) and edge < state["hours_since"])
        for edge in inside
    )

"""What is refused of questions about sketches, and what the rows read for them mean."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from configservice.topology.model import EventType, Topology
from viewcounter.queries.errors import InvalidQuery, SketchesBehind
from viewcounter.queries.functions import Function
from viewcounter.queries.meta import Source
from viewcounter.queries.periods import plan_period
from viewcounter.queries.ranges import ALL_TIME
from viewcounter.queries.settings import SketchLimits
from viewcounter.queries.sketched import (
    SketchFunction,
    check_values,
    collect_sketches,
    condense,
    describe_error,
    evaluate_sketch,
    evaluate_sketches,
    evaluate_union,
    parse_stats_function,
)

DAY = datetime(2026, 1, 31, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
LIMITS = SketchLimits(max_events=10, max_pieces=3, max_bytes=100)
VIEW, WATCH_TIME = EventType(1, "view", False), EventType(6, "watch_time", True)
TOPOLOGY = Topology(epoch=1, shards=(), assignments=(), event_types=(VIEW, WATCH_TIME))


def pack(*numbers):
    return np.array(numbers, dtype=">i8").tobytes()


def row(partition=3, bucket=1, numbers=(), piece=1, counted=None, **changes):
    """Of raw events."""
    return {
        "partition": partition,
        "epoch": 1,
        "rolled_through": DAY,
        "minutes_since": NEVER,
        "hours_since": NEVER,
        "lost_day": None,
        "sketch_bytes": 0,
        "open_events": 0,
        "closed_events": 0,
        "open_pieces": 0,
        "piece_count": 0,
        "source": "raw" if bucket else None,
        "piece": piece if bucket else None,
        "bucket": bucket,
        "events": len(numbers),
        "counted": len(numbers) if counted is None else counted,
        "since": DAY,
        "data": pack(*numbers) or None,
    } | changes


def condense_values(rows):
    return condense(rows, of_viewers=False, limits=LIMITS)


def collect(rows):
    return collect_sketches(condense_values(rows), plan_period(ALL_TIME), of_viewers=False)


def test_every_function_has_a_name_and_others_are_refused_with_all_names():
    assert [parse_stats_function(f) for f in (*Function, *SketchFunction)] == [*Function, *SketchFunction]
    with pytest.raises(
        InvalidQuery, match=r"count, sum, average, min, max, unique_viewers, p50, p90, p95, p99"
    ) as caught:
        parse_stats_function("p75")
    assert (caught.value.field, caught.value.code) == ("function", "unknown_function")


def test_top_lists_refuse_estimates_naming_what_they_take():
    with pytest.raises(InvalidQuery, match=r"must be one of: count, sum, average, min, max$"):
        Function.parse("p95")


def test_percentiles_are_of_types_that_carry_values():
    check_values(SketchFunction.P50, WATCH_TIME, TOPOLOGY)
    check_values(SketchFunction.UNIQUE_VIEWERS, VIEW, TOPOLOGY)
    with pytest.raises(InvalidQuery, match="types with values: watch_time") as caught:
        check_values(SketchFunction.P50, VIEW, TOPOLOGY)
    assert (caught.value.field, caught.value.code) == ("function", "no_values")


def test_the_error_is_told_by_function():
    assert describe_error(SketchFunction.UNIQUE_VIEWERS) == {
        "unique_viewers": {"relative_standard_error": 0.0162, "lg_k": 12}
    }
    assert describe_error(SketchFunction.P95) == {"p95": {"rank_error": 0.0133, "k": 200}}


def test_parts_of_a_bucket_from_all_partitions_are_united():
    found = collect([row(numbers=(1000, 2500)), row(partition=4, numbers=(3000,), piece=2), row(5, bucket=None)])
    assert evaluate_sketches(found, SketchFunction.P50) == {0: 2.5}
    assert evaluate_union(found, SketchFunction.P99) == 3
    assert found.sources == {Source.RAW}


def test_of_nothing_there_are_no_viewers_and_no_percentile_and_the_planned_source():
    found = collect([row(bucket=None)])
    assert (found.sketches, found.sources) == ({}, {Source.DAY, Source.RAW})
    assert evaluate_union(found, SketchFunction.UNIQUE_VIEWERS) == 0
    assert evaluate_union(found, SketchFunction.P50) is None
    assert evaluate_sketch(SketchFunction.P50, b"") is None


def test_a_piece_that_counts_more_than_its_raw_events_is_never_answered():
    whole = [row(bucket=1, numbers=(1,), counted=3), row(bucket=2, numbers=(2, 3), counted=3)]
    assert len(condense_values(whole)) == 2
    late = row(bucket=2, numbers=(2,), counted=3, since=DAY + timedelta(hours=1))
    with pytest.raises(InvalidQuery, match="1 events, the first of them after 2026-01-31T01:00Z") as caught:
        condense_values([whole[0], late])
    assert (caught.value.field, caught.value.code) == ("start_time", "raw_expired")
    with pytest.raises(InvalidQuery, match="2 events"):
        condense_values([row(numbers=(), bucket=None, piece=1) | {"piece": 1, "source": "raw", "counted": 2}])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lost_day": DAY}, "raw_expired"),
        ({"sketch_bytes": 101}, "too_many_sketches"),
        ({"open_events": 11, "open_pieces": 1, "piece_count": 1}, "too_many_raw_events"),
        ({"open_events": 4, "open_pieces": 4, "piece_count": 4}, "too_many_raw_events"),
    ],
)
def test_what_would_cost_too_much_or_is_gone_is_refused_by_name(changes, code):
    with pytest.raises(InvalidQuery) as caught:
        condense_values([row(bucket=None, **changes)])
    assert caught.value.code == code


@pytest.mark.parametrize(
    "changes", [{"open_events": 5, "closed_events": 6, "piece_count": 2}, {"open_pieces": 3, "piece_count": 4}]
)
def test_closed_hours_without_sketches_are_a_reason_to_come_back_later(changes):
    with pytest.raises(SketchesBehind):
        condense_values([row(bucket=None, **changes)])
    assert condense_values([row(bucket=None, open_events=10, open_pieces=3, piece_count=3)])

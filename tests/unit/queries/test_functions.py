import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Aggregate, Function, evaluate, evaluate_exactly, merge

values = st.lists(st.integers(0, 10**9), min_size=1, max_size=20)


def aggregate_of(thousandths):
    return Aggregate(count=len(thousandths), sum=sum(thousandths), min=min(thousandths), max=max(thousandths))


def test_answers_are_in_units_and_whole_numbers_are_integers():
    aggregate = Aggregate(count=3, sum=10_500, min=500, max=8_000)
    answers = {function.value: evaluate(function, aggregate) for function in Function}
    assert json.dumps(answers) == '{"count": 3, "sum": 10.5, "average": 3.5, "min": 0.5, "max": 8}'


def test_nothing_counts_and_sums_to_zero_and_has_no_average_or_extremes():
    assert [evaluate(function, None) for function in Function] == [0, 0, None, None, None]


def test_a_row_without_events_is_no_aggregate_and_numeric_sums_stay_exact():
    nothing = {"count": None, "sum": None, "min": None, "max": None}
    assert Aggregate.from_row(nothing) is None
    beyond_64_bits = Decimal(2**70 + 1)
    row = {"count": Decimal(2), "sum": beyond_64_bits, "min": 1, "max": 2}
    assert Aggregate.from_row(row) == Aggregate(count=2, sum=2**70 + 1, min=1, max=2)


def test_an_unknown_function_is_refused_with_the_ones_there_are():
    with pytest.raises(InvalidQuery) as caught:
        Function.parse("median")
    assert (caught.value.field, caught.value.code) == ("function", "unknown_function")
    assert caught.value.message == "must be one of: count, sum, average, min, max"


@given(parts=st.lists(values, min_size=1, max_size=6))
def test_merging_buckets_is_the_aggregate_of_all_their_events(parts):
    everything = [value for part in parts for value in part]
    assert merge(map(aggregate_of, parts)) == aggregate_of(everything)


@given(parts=st.lists(values, min_size=1, max_size=6))
def test_the_value_of_a_period_is_the_sum_of_its_series(parts):
    aggregates = [aggregate_of(part) for part in parts]
    for function in (Function.COUNT, Function.SUM):
        series = sum(evaluate_exactly(function, aggregate) for aggregate in aggregates)
        assert evaluate_exactly(function, merge(aggregates)) == series


@given(part=values)
def test_the_average_is_exact_before_it_is_written(part):
    assert evaluate_exactly(Function.AVERAGE, aggregate_of(part)) == Fraction(sum(part), 1000 * len(part))


def test_merging_nothing_is_nothing():
    assert merge([]) is None

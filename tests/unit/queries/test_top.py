from hypothesis import given
from hypothesis import strategies as st

from viewcounter.queries.functions import Aggregate, Function, evaluate, evaluate_exactly
from viewcounter.queries.top import TopItem, merge_top


def row(video_id, *, count=1, value_sum=0, title=None):
    return {"video_id": video_id, "count": count, "sum": value_sum, "min": 0, "max": value_sum, "title": title}


NOTHING = {"video_id": None, "count": None, "sum": None, "min": None, "max": None, "title": None}


def test_partitions_without_events_are_no_items():
    assert merge_top([NOTHING, row("a", title="A"), NOTHING], function=Function.COUNT, limit=10) == (
        TopItem(video_id="a", title="A", value=1),
    )


def test_equal_values_stand_in_the_order_of_their_ids():
    rows = [row("b", count=5), row("c", count=7), row("a", count=5)]
    items = merge_top(rows, function=Function.COUNT, limit=10)
    assert [item.video_id for item in items] == ["c", "a", "b"]


def test_averages_that_round_to_the_same_float_are_still_told_apart():
    smaller = row("a", count=10**9 + 1, value_sum=10**27 + 10**18)
    larger = row("b", count=10**9 + 1, value_sum=10**27 + 10**18 + 1)
    items = merge_top([smaller, larger], function=Function.AVERAGE, limit=1)
    assert [item.video_id for item in items] == ["b"]


@given(
    counts=st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.integers(1, 20), max_size=30),
    shards=st.integers(1, 4),
    limit=st.integers(1, 12),
)
def test_merging_the_lists_of_shards_equals_sorting_everything(counts, shards, limit):
    lists = [[row(v, count=c) for v, c in sorted(counts.items())[shard::shards]] for shard in range(shards)]
    firsts = [r for rows in lists for r in sorted(rows, key=lambda r: (-r["count"], r["video_id"]))[:limit]]
    merged = merge_top(firsts, function=Function.COUNT, limit=limit)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    assert [(item.video_id, item.value) for item in merged] == expected


def test_every_function_ranks_by_its_own_value():
    aggregates = {"a": Aggregate(count=1, sum=9, min=9, max=9), "b": Aggregate(count=2, sum=10, min=1, max=9)}
    rows = [
        {"video_id": v, "count": a.count, "sum": a.sum, "min": a.min, "max": a.max, "title": None}
        for v, a in aggregates.items()
    ]
    for function in Function:
        items = merge_top(rows, function=function, limit=2)
        ranked = sorted(aggregates, key=lambda v, f=function: (-evaluate_exactly(f, aggregates[v]), v))
        assert [item.video_id for item in items] == ranked
        assert [item.value for item in items] == [evaluate(function, aggregates[v]) for v in ranked]

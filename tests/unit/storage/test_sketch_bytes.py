"""Merged sketches hold all their inputs: small ones exactly, large ones within the stated error."""

import math

import numpy as np
import pytest

from viewcounter.storage.sketch_bytes import (
    QUANTILES_RANK_ERROR,
    VIEWERS_RELATIVE_STANDARD_ERROR,
    SketchBuilder,
    UnreadableSketch,
    estimate_viewers,
    get_quantile,
    merge_quantiles,
    merge_viewers,
)
from viewcounter.storage.sketches import StaleKey, plan_reads


def pack(numbers):
    return np.array(numbers, dtype=">i8").tobytes()


def build(*, viewers=(), values=(), is_valued=True):
    builder = SketchBuilder(is_valued=is_valued)
    builder.add(events=max(len(viewers), len(values)), viewers=pack(viewers) or None, values=pack(values) or None)
    return builder


def test_the_errors_told_are_those_of_the_library():
    assert (VIEWERS_RELATIVE_STANDARD_ERROR, QUANTILES_RANK_ERROR) == (0.0162, 0.0133)


def test_a_viewer_of_several_hours_counts_once_and_nobody_counts_never():
    hours = [build(viewers=hour).build_viewers() for hour in ([1, 2, 2, 0], [2, -3, 2**63 - 1], [-(2**63), 1])]
    assert [estimate_viewers(hour) for hour in hours] == [2, 3, 2]
    assert estimate_viewers(merge_viewers(hours)) == 5
    assert estimate_viewers(merge_viewers(hours[:1], raw=[pack([7, 0, 1]), pack([8])])) == 4
    assert build(viewers=[0, 0]).build_viewers() == b""
    assert (merge_viewers([]), estimate_viewers(b"")) == (b"", 0)


@pytest.mark.parametrize(
    ("values", "rank", "expected"),
    [([5], 0.5, 5), ([4, 1, 3, 2], 0.5, 2), (range(1, 11), 0.9, 9), (range(1, 101), 0.99, 99), ([7, 7, 1], 0.95, 7)],
)
def test_a_percentile_is_the_nearest_rank(values, rank, expected):
    values = list(values)
    assert get_quantile(build(values=values).build_quantiles(), rank=rank) == expected
    parts = [build(values=values[:1]).build_quantiles()]
    assert get_quantile(merge_quantiles(parts, raw=[pack(values[1:])] if values[1:] else []), rank=rank) == expected


def test_types_without_values_and_no_values_at_all_have_no_percentile():
    assert build(values=[1, 2], is_valued=False).build_quantiles() == b""
    assert (merge_quantiles([]), get_quantile(b"", rank=0.5)) == (b"", None)


def test_a_hundred_thousand_values_merged_from_hours_stay_within_the_rank_error():
    values = np.random.default_rng(7).lognormal(10, 1.5, 100_000).astype(np.int64)
    merged = merge_quantiles(build(values=part).build_quantiles() for part in np.array_split(values, 24))
    assert len(merged) < 6000
    ordered = np.sort(values)
    for rank in (0.5, 0.9, 0.95, 0.99):
        found = np.searchsorted(ordered, get_quantile(merged, rank=rank)) / len(values)
        assert abs(found - rank) < 2 * QUANTILES_RANK_ERROR  # one in a hundred is beyond one error: it merges at random


def test_a_hundred_thousand_viewers_merged_from_hours_stay_within_three_errors():
    viewers = np.random.default_rng(7).integers(-(2**63), 2**63, 100_000)
    parts = [viewers[start : start + 20_000] for start in range(0, 90_000, 10_000)]  # each is in two of them
    merged = merge_viewers(build(viewers=part).build_viewers() for part in parts)
    assert len(merged) < 3000
    assert math.isclose(estimate_viewers(merged), 100_000, rel_tol=3 * VIEWERS_RELATIVE_STANDARD_ERROR)


@pytest.mark.parametrize("damage", [b"x", b"\0" * 100, b"\xff" * 50])
def test_bytes_that_are_no_sketch_are_refused(damage):
    sketch = build(viewers=range(1, 1000), values=range(1000))
    for data in (damage, damage + sketch.build_viewers(), sketch.build_quantiles()[:-9]):
        with pytest.raises(UnreadableSketch):
            merge_viewers([data])
    for data in (damage, damage + sketch.build_quantiles(), sketch.build_quantiles()[:100], sketch.build_viewers()):
        with pytest.raises(UnreadableSketch):
            merge_quantiles([data])


def test_keys_are_read_together_up_to_a_bound_and_a_large_one_alone():
    keys = [StaleKey(video_id, 1, count) for video_id, count in (("a", 3), ("b", 2), ("c", 1), ("d", 9), ("e", 5))]
    assert [[key.video_id for key in part] for part in plan_reads(keys, max_events=5)] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e"],
    ]
    assert plan_reads([], max_events=5) == []

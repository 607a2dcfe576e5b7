"""Halving: exactly the bad ones, in few trials, whatever they are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import scale_examples
from viewcounter.processing.isolation import BatchRefusal, TooManyRefused, find_refused, pick_probes


class FakeShard:
    """Refuses what holds a bad row, or what would lift the sum of all that it has taken above `most`."""

    def __init__(self, *, bad=(), weights=None, most=None):
        self.bad, self.weights, self.most = set(bad), weights, most
        self.taken = []
        self.trials = 0

    def try_rows(self, rows):
        self.trials += 1
        rows = rows.tolist()
        if self.bad & set(rows):
            return BatchRefusal("22003", f"bad among {len(rows)}")
        if self.most is not None and sum(self.weights[row] for row in self.taken + rows) > self.most:
            return BatchRefusal("22003", "out of range")
        self.taken += rows
        return None


@settings(max_examples=scale_examples(300), deadline=None)
@given(st.data())
def test_finds_exactly_the_bad_rows_within_the_trials_it_promises(data):
    count = data.draw(st.integers(1, 3000))
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=min(count, 12)))
    shard = FakeShard(bad=bad)
    refused = find_refused(np.arange(count), shard.try_rows, max_refused=count)
    assert set(refused) == bad
    assert sorted(shard.taken) == [row for row in range(count) if row not in bad]
    assert shard.trials <= 2 * len(bad) * math.ceil(math.log2(count)) + 1
    assert all(refusal.message == "bad among 1" for refusal in refused.values())


@settings(max_examples=scale_examples(200), deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(0, 500))
def test_rows_that_are_bad_only_together_leave_a_rest_that_passes_as_a_whole(weights, most):
    shard = FakeShard(weights=weights, most=most)
    refused = find_refused(np.arange(len(weights)), shard.try_rows, max_refused=len(weights))
    rest = sum(weight for row, weight in enumerate(weights) if row not in refused)
    assert rest <= most
    assert all(rest + weights[row] > most for row in refused)


def test_nothing_to_try_is_no_trial():
    shard = FakeShard()
    assert find_refused(np.arange(0), shard.try_rows, max_refused=5) == {}
    assert shard.trials == 0


def test_gives_up_as_soon_as_more_are_bad_than_it_may_give_up():
    shard = FakeShard(bad=range(1000))
    with pytest.raises(TooManyRefused) as caught:
        find_refused(np.arange(1000), shard.try_rows, max_refused=3)
    assert set(caught.value.refused) == {0, 1, 2, 3}
    assert shard.trials < 30


def test_probes_are_spread_over_the_whole_and_none_of_a_small_part():
    assert [int(rows[0]) for rows in pick_probes(np.arange(80), count=8)] == [0, 11, 22, 33, 45, 56, 67, 79]
    assert pick_probes(np.arange(31), count=8) == []

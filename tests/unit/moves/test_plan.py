"""The choice of partitions to move and of their targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configservice.moves.placement import plan_even_numbers
from viewcounter.moves.errors import BadPartitions
from viewcounter.moves.plan import choose_partitions, parse_partitions, plan_even_sizes


def apply(owned, targets):
    homes = {p: shard for shard, partitions in owned.items() for p in partitions} | targets
    return {shard: sorted(p for p, home in homes.items() if home == shard) for shard in owned}


@pytest.mark.parametrize(
    ("text", "expected"), [("3", [3]), ("1,2,5-9", [1, 2, 5, 6, 7, 8, 9]), (" 4 , 4,3-4", [3, 4]), ("7-7", [7])]
)
def test_partitions_are_numbers_and_ranges(text, expected):
    assert parse_partitions(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1,,2", "5-3", "-1", "1-", "123456", "1;2"])
def test_anything_else_is_refused(text):
    with pytest.raises(BadPartitions):
        parse_partitions(text)


def test_partitions_are_chosen_by_name_by_count_or_all():
    assert choose_partitions([4, 2, 6], wanted=[6, 2], count=None, shard="s") == [2, 6]
    assert choose_partitions([4, 2, 6], wanted=None, count=2, shard="s") == [2, 4]
    assert choose_partitions([4, 2, 6], wanted=None, count=None, shard="s") == [2, 4, 6]
    with pytest.raises(BadPartitions, match="not on s: 3, 5"):
        choose_partitions([4, 2, 6], wanted=[5, 3, 2], count=None, shard="s")
    for count in (0, 4):
        with pytest.raises(BadPartitions, match="s has 3 partitions"):
            choose_partitions([4, 2, 6], wanted=None, count=count, shard="s")


def test_an_empty_shard_gets_its_share_and_nothing_else_moves():
    owned = {1: [0, 2, 4, 6], 2: [1, 3, 5, 7], 3: []}
    targets = plan_even_numbers(owned)
    assert targets == {6: 3, 7: 3}
    assert plan_even_numbers(apply(owned, targets)) == {}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=64), st.integers(1, 5))
def test_numbers_become_even_with_the_fewest_moves(homes, shard_count):
    owned = {shard: [p for p, home in enumerate(homes) if home % shard_count == shard] for shard in range(shard_count)}
    targets = plan_even_numbers(owned)
    after = [len(partitions) for partitions in apply(owned, targets).values()]
    assert max(after) - min(after) <= 1
    base, rest = divmod(len(homes), shard_count)
    kept = sorted((len(partitions) for partitions in owned.values()), reverse=True)
    assert len(targets) == len(homes) - sum(min(n, base + (place < rest)) for place, n in enumerate(kept))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000)), max_size=40), st.integers(1, 4))
def test_sizes_come_closer_and_every_move_has_a_gain(partitions, shard_count):
    owned = {s: [p for p, (home, _) in enumerate(partitions) if home % shard_count == s] for s in range(shard_count)}
    sizes = {p: size for p, (_, size) in enumerate(partitions)}
    targets = plan_even_sizes(owned, sizes)

    def spread(where):
        loads = [sum(sizes[p] for p in held) for held in where.values()]
        return max(loads) - min(loads)

    assert spread(apply(owned, targets)) <= spread(owned)
    assert all(sizes[p] > 0 and p not in owned[shard] for p, shard in targets.items())


def test_the_partition_that_evens_sizes_out_is_moved():
    assert plan_even_sizes({1: [0, 1, 2], 2: []}, {0: 100, 1: 30, 2: 70}) == {0: 2}
    assert plan_even_sizes({1: [0], 2: []}, {0: 100}) == {}

import pytest

from viewcounter.processing.puller import format_progress, format_ranges
from viewcounter.processing.shard_puller import ShardProgress


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), ""), ((3,), "3"), ((0, 1), "0-1"), ((0, 1, 2, 4, 7, 8), "0-2, 4, 7-8")],
)
def test_consecutive_partitions_are_shown_as_a_range(numbers, text):
    assert format_ranges(numbers) == text


def test_a_process_says_what_it_has_of_a_shard_and_how_far_it_is_or_why_it_waits():
    progress = ShardProgress("shard1", (0, 1, 2), 0.42, trouble="")
    assert format_progress(progress) == "shard1: partitions 0-2, 0.4 s behind"
    waiting = ShardProgress("shard1", (0, 1, 2), 0.42, trouble="the lease on shard1 cannot be renewed")
    assert format_progress(waiting) == "the lease on shard1 cannot be renewed"

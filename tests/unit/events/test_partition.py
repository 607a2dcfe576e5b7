import pytest

from viewcounter.events.partition import get_partition


@pytest.mark.parametrize(
    ("video_id", "partition_count", "expected"),
    [("XpVt6Z1Gjjo", 32, 4), ("é", 32, 19), ("a", 7, 1)],
)
def test_partition_of_pinned_vectors(video_id, partition_count, expected):
    """Other languages check themselves against these; a change here moves every video."""
    assert get_partition(video_id, partition_count=partition_count) == expected

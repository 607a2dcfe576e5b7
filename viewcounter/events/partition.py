"""The partition of a video: the unit of order, placement and de-duplication."""

import xxhash


def get_partition(video_id: str, *, partition_count: int) -> int:
    """`xxh3_64(utf-8 of video_id) mod partition_count`, the same in every process and language.

    Never Python's `hash`, which is salted per process. Test vectors: tests/unit/events/test_partition.py.
    """
    return xxhash.xxh3_64_intdigest(video_id.encode()) % partition_count

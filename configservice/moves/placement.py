"""Plans moves after which all shards have about the same number of partitions. Pure."""

from collections.abc import Collection, Mapping

Owned = Mapping[int, Collection[int]]
"""Partitions by shard id, also of shards without partitions."""
Targets = dict[int, int]
"""Target shard id by partition."""


def plan_even_numbers(owned: Owned) -> Targets:
    """The smallest number of moves after which partition counts differ by at most one.

    Shards with the most partitions now get the remainder, so that no partition moves for that alone.
    """
    base, rest = divmod(sum(map(len, owned.values())), len(owned))
    by_size = sorted(owned, key=lambda shard: (-len(owned[shard]), shard))
    quota = {shard: base + (place < rest) for place, shard in enumerate(by_size)}
    surplus = [p for shard in by_size for p in sorted(owned[shard])[quota[shard] :]]
    room = [shard for shard in by_size for _ in range(quota[shard] - len(owned[shard]))]
    return dict(zip(surplus, room, strict=True))

"""Which partitions to move so that shards have as many of them. Pure."""

from collections.abc import Collection, Mapping

Owned = Mapping[int, Collection[int]]
"""Partitions by the id of their shard; one with none is there too."""
Targets = dict[int, int]
"""The shard to go to, by partition."""


def plan_even_numbers(owned: Owned) -> Targets:
    """The fewest moves after which no shard has two partitions more than another.

    Shards that have most now may keep one more, so that nothing moves for the sake of a remainder.
    """
    base, rest = divmod(sum(map(len, owned.values())), len(owned))
    by_size = sorted(owned, key=lambda shard: (-len(owned[shard]), shard))
    quota = {shard: base + (place < rest) for place, shard in enumerate(by_size)}
    surplus = [p for shard in by_size for p in sorted(owned[shard])[quota[shard] :]]
    room = [shard for shard in by_size for _ in range(quota[shard] - len(owned[shard]))]
    return dict(zip(surplus, room, strict=True))

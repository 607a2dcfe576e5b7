"""Chooses the partitions to move and their target shards. Pure."""

import re
from collections.abc import Collection, Mapping

from configservice.moves.placement import Owned, Targets
from viewcounter.moves.errors import BadPartitions

_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def parse_partitions(text: str) -> list[int]:
    """`1,2,5-9` ascending, each once. Raises BadPartitions."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise BadPartitions(f"{part.strip()!r} is neither a partition nor a range of partitions such as 5-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise BadPartitions(f"{part.strip()}: the end of a range must not be below its start")
        found.update(range(first, last + 1))
    return sorted(found)


def choose_partitions(
    owned: Collection[int], *, wanted: Collection[int] | None, count: int | None, shard: str
) -> list[int]:
    """The `wanted` partitions, which must be on the shard; or its first `count`; or all. Raises BadPartitions."""
    if wanted is not None:
        absent = sorted(set(wanted) - set(owned))
        if absent:
            raise BadPartitions(f"partitions not on {shard}: {', '.join(map(str, absent))}")
        return sorted(set(wanted))
    if count is not None and not 1 <= count <= len(owned):
        raise BadPartitions(f"{shard} has {len(owned)} partitions, {count} cannot be moved")
    return sorted(owned)[:count]


def plan_even_sizes(owned: Owned, sizes: Mapping[int, int]) -> Targets:
    """Greedy plan: move the best partition from the fullest shard to the emptiest, while that narrows the gap.

    Not the minimal number of moves (a bin-packing problem), but every move narrows a gap.
    """
    held = {shard: set(partitions) for shard, partitions in owned.items()}
    homes = {partition: shard for shard, partitions in owned.items() for partition in partitions}
    load = {shard: sum(sizes.get(p, 0) for p in partitions) for shard, partitions in held.items()}
    targets: Targets = {}
    for _ in range(len(homes)):
        fullest = max(load, key=lambda shard: (load[shard], -shard))
        emptiest = min(load, key=lambda shard: (load[shard], shard))
        gap = load[fullest] - load[emptiest]
        # A move narrows the gap by twice the partition's size; a partition as large as the gap would only reverse it.
        movable = [p for p in held[fullest] if 0 < sizes.get(p, 0) < gap and p not in targets]
        if not movable:
            break
        best = min(movable, key=lambda p: (abs(gap - 2 * sizes[p]), p))
        held[fullest].remove(best)
        held[emptiest].add(best)
        load[fullest] -= sizes[best]
        load[emptiest] += sizes[best]
        targets[best] = emptiest
    return {partition: shard for partition, shard in sorted(targets.items()) if homes[partition] != shard}

"""By which way an answer came, for those who ask: from which instances, or from where it was kept."""

from collections.abc import Iterable
from dataclasses import replace

from clusterproxy.results import Route
from configservice.topology.model import Topology
from viewcounter.cache.read_cache import CachedPart, Origin
from viewcounter.queries.freshness import ReadOptions

MISS = "miss"
"""The caches were asked and had nothing that would do."""


def describe_routes(
    topology: Topology, parts: Iterable[CachedPart], *, options: ReadOptions, uses_cache: bool
) -> tuple[Route, ...]:
    """One for each question that a shard was asked, and one a shard for all that was kept in the same place.

    Empty unless the options ask for it.
    """
    if not options.explains:
        return ()
    asked: dict[int, Route] = {}
    kept: dict[tuple[int, Origin], set[int]] = {}
    looked = MISS if uses_cache and not options.insists_on_now else None
    for part in parts:
        if part.route is not None:
            asked[id(part.route)] = replace(part.route, cache=looked if part.origin is Origin.SHARD else part.origin)
        else:
            for partition in {row["partition"] for row in part.rows}:
                kept.setdefault((topology.assignments[partition].shard_id, part.origin), set()).add(partition)
    return (*asked.values(), *(_describe_kept(topology, *place, own, options) for place, own in kept.items()))


def _describe_kept(
    topology: Topology, shard_id: int, origin: Origin, partitions: set[int], options: ReadOptions
) -> Route:
    return Route(
        epoch=topology.epoch,
        shard=topology.get_shard(shard_id).name,
        partitions=tuple(sorted(partitions)),
        consistency=options.consistency,
        instance=None,
        reason=None,
        lag_seconds=None,
        seconds=0.0,
        waited_seconds=0.0,
        attempts=(),
        cache=origin.value,
    )

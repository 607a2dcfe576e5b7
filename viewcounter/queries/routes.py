"""The routes of an answer's rows, for `explain=route`: from which instance, or from which cache."""

from collections.abc import Iterable
from dataclasses import replace

from clusterproxy.results import Route
from configservice.topology.model import Topology
from viewcounter.cache.read_cache import CacheResult, Origin
from viewcounter.queries.freshness import ReadOptions

MISS = "miss"
"""The caches were read and had no usable entry."""


def describe_routes(
    topology: Topology, results: Iterable[CacheResult], *, options: ReadOptions, uses_cache: bool
) -> tuple[Route, ...]:
    """One for each statement that a shard executed, and one a shard for all rows from the same cache.

    Empty unless `options.explains`.
    """
    if not options.explains:
        return ()
    executed: dict[int, Route] = {}
    cached: dict[tuple[int, Origin], set[int]] = {}
    shard_cache = MISS if uses_cache and not options.bypasses_cache else None
    for result in results:
        if result.route is not None:
            cache = shard_cache if result.origin is Origin.SHARD else result.origin
            executed[id(result.route)] = replace(result.route, cache=cache)
        else:
            for partition in {row["partition"] for row in result.rows}:
                cached.setdefault((topology.assignments[partition].shard_id, result.origin), set()).add(partition)
    return (
        *executed.values(),
        *(_describe_cached(topology, *place, partitions, options) for place, partitions in cached.items()),
    )


def _describe_cached(
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

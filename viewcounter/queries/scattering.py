"""One question to many shards, keeping apart what was read and what is missing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route
from shardproxy.query import Query
from viewcounter.queries.errors import PartitionElsewhere
from viewcounter.queries.freshness import DEFAULT, ReadOptions, find_demand
from viewcounter.storage.reads import Seen


@dataclass(frozen=True, slots=True)
class Scattered:
    """`seen` has exactly the partitions that were read, and is never empty; `rows` are of those partitions only.

    `missing_shards`: ids of the shards that did not answer, or not for all of the partitions asked of them. `routes`:
    one a shard that answered, if the options ask for them.
    """

    rows: list[dict[str, Any]]
    seen: Mapping[int, Seen]
    missing_shards: tuple[int, ...]
    routes: tuple[Route, ...] = ()


def scatter(
    cluster: ClusterProxy,
    query: Query,
    *,
    params: Mapping[str, Any],
    partitions: Collection[int] | None = None,
    options: ReadOptions = DEFAULT,
) -> Scattered:
    """Raises the first shard's error when no shard answered at all, and NotFarEnough when one does not meet what the
    options demand."""
    result = cluster.scatter(
        query,
        params,
        partitions=partitions,
        consistency=options.consistency,
        demand=find_demand(options, partitions=partitions),
    )
    seen: dict[int, Seen] = {}
    rows: list[dict[str, Any]] = []
    elsewhere: list[PartitionElsewhere] = []
    for shard_id, shard_result in result.results.items():
        for row in shard_result.rows:
            row_seen = Seen.from_row(row)
            if row_seen is None:
                elsewhere.append(PartitionElsewhere(row["partition"], shard_id=shard_id))
            else:
                seen[row["partition"]] = row_seen
                rows.append(row)
    if elsewhere:
        cluster.refresh_topology()
    failures = [*result.missing.values(), *elsewhere]
    if not seen and failures:
        raise failures[0]
    missing = {*result.missing, *(error.shard_id for error in elsewhere)}
    routes = tuple(r.route for r in result.results.values() if r.route is not None) if options.explains else ()
    return Scattered(rows=rows, seen=seen, missing_shards=tuple(sorted(missing)), routes=routes)

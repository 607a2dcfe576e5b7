"""One statement on many shards, with the rows of those that answered and the errors of the others."""

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import xxhash

from clusterproxy.plan import plan_scatter
from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route
from configservice.topology.model import Topology
from shardproxy.query import Query
from viewcounter.cache.read_cache import CacheResult, Origin, Rows
from viewcounter.queries.errors import PartitionElsewhere
from viewcounter.queries.freshness import ReadOptions, find_requirement
from viewcounter.queries.reading import StatementRead
from viewcounter.storage.reads import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatterRead(StatementRead):
    """A statement on all shards. `partitions`: those of the shard that a key stands for.

    Each shard's rows are cached by themselves: while one is down, its earlier rows stand in for it.
    """

    partitions: Mapping[str, Sequence[int]]

    def load(self, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        partitions = {key: self.partitions[key] for key in keys}
        key_of = {partition: key for key, own in partitions.items() for partition in own}
        return load_scattered(
            self, self.params, partitions=partitions, choose_key=lambda row: key_of[row["partition"]], now=now
        )


def build_scatter_read(
    cluster: ClusterProxy,
    statement: Query,
    params: Mapping[str, Any],
    *,
    key: str,
    options: ReadOptions,
    condense: Callable[[Rows], Rows] | None = None,
) -> ScatterRead:
    """`key` tells the statement and its parameters from every other one."""
    topology = cluster.topology
    owned = plan_scatter(topology, None)
    keys = {shard_id: _build_key(topology, shard_id, key, own) for shard_id, own in owned.items()}
    return ScatterRead(
        keys=list(keys.values()),
        requirement=find_requirement(options, partitions=range(topology.partition_count)),
        allow_cached=not options.bypasses_cache,
        cluster=cluster,
        statement=statement,
        params=params,
        options=options,
        names={keys[shard_id]: topology.get_shard(shard_id).name for shard_id in sorted(keys)},
        condense=condense,
        partitions={keys[shard_id]: own for shard_id, own in owned.items()},
    )


def load_scattered(
    request: StatementRead,
    params: Mapping[str, Any],
    *,
    partitions: Mapping[str, Sequence[int]],
    choose_key: Callable[[Mapping[str, Any]], str],
    now: datetime,
) -> dict[str, CacheResult]:
    """The request's statement on all shards that own any of `partitions`; `choose_key` tells a row's key.

    A result has no error only if all partitions of its key were read.
    """
    cluster = request.cluster
    gathered = _Gathered(choose_key)
    before = cluster.topology
    gathered.query(request, params, {partition for own in partitions.values() for partition in own})
    if gathered.errors:
        cluster.refresh_topology()
        after = cluster.topology
        moved = [p for p in gathered.errors if after.assignments[p] != before.assignments[p]]
        if moved:
            gathered.query(request, params, moved)  # once more, where they are now
    results: dict[str, CacheResult] = {}
    for key, own in partitions.items():
        rows = gathered.rows.get(key, [])
        if rows and request.condense is not None:
            rows = request.condense(rows)
        error = next((gathered.errors[p] for p in own if p in gathered.errors), None)
        results[key] = CacheResult(rows, now, Origin.SHARD, route=gathered.routes.get(key), error=error)
    return results


@dataclass(slots=True)
class _Gathered:
    """Rows and routes by key, and `errors` by partition that was not read. A partition is read once."""

    choose_key: Callable[[Mapping[str, Any]], str]
    rows: dict[str, Rows] = field(default_factory=dict)
    routes: dict[str, Route | None] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)

    def query(self, request: StatementRead, params: Mapping[str, Any], partitions: Collection[int]) -> None:
        topology = request.cluster.topology
        scattered = request.cluster.scatter(
            request.statement,
            params,
            partitions=partitions,
            consistency=request.options.consistency,
            requirement=request.requirement,
        )
        for partition in partitions:
            shard_id = topology.assignments[partition].shard_id
            self.errors[partition] = scattered.missing.get(shard_id) or PartitionElsewhere(partition, shard_id=shard_id)
        for result in scattered.results.values():
            for row in result.rows:
                if Seen.from_row(row) is not None:
                    self.errors.pop(row["partition"], None)
                    key = self.choose_key(row)
                    self.rows.setdefault(key, []).append(row)
                    self.routes[key] = result.route


def _build_key(topology: Topology, shard_id: int, key: str, partitions: Sequence[int]) -> str:
    """A shard that has gained or lost a partition has another key: no partition may be counted twice or left out."""
    owned = struct.pack(
        f">{2 * len(partitions)}q", *(n for p in partitions for n in (p, topology.assignments[p].epoch))
    )
    return f"{key}:{shard_id}:{xxhash.xxh3_64_hexdigest(owned)}"

"""One question to many shards, keeping apart what was read and what is missing."""

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import xxhash

from clusterproxy.plan import plan_scatter
from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route, ScatterResult
from configservice.topology.model import Topology
from shardproxy.query import Query
from viewcounter.cache.read_cache import CacheRequest, Loaded, ReadCache, Rows, fetch
from viewcounter.queries.errors import PartitionElsewhere
from viewcounter.queries.freshness import DEFAULT, ReadOptions, find_demand
from viewcounter.queries.reading import StatementResult, build_judge, get_seen
from viewcounter.queries.routes import describe_routes
from viewcounter.storage.reads import Seen


def scatter(
    cluster: ClusterProxy,
    query: Query,
    *,
    params: Mapping[str, Any],
    key: str,
    now: datetime,
    options: ReadOptions = DEFAULT,
    cache: ReadCache | None = None,
    condense: Callable[[Rows], Rows] = lambda rows: rows,
) -> StatementResult:
    """Each shard's answer to the question `key` is kept by itself: one that is down is then answered for by what it
    said before. `condense` makes what is kept of the rows that a shard gave.

    Raises the first shard's error when no shard answered at all, NotFarEnough when one does not meet what the
    options demand, and what `condense` raises.
    """
    topology = cluster.topology
    owned = plan_scatter(topology, None)
    shards = {_name_part(topology, shard_id, key, own): shard_id for shard_id, own in owned.items()}
    partitions = {name: owned[shard_id] for name, shard_id in shards.items()}

    def load(names: Sequence[str]) -> Loaded:
        own = {name: partitions[name] for name in names}
        loaded = load_parts(cluster, query, params=params, partitions=own, options=options)
        return replace(loaded, rows={name: condense(rows) for name, rows in loaded.rows.items()})

    wanted = CacheRequest(
        keys=list(shards),
        load=load,
        allow_cached=not options.insists_on_now,
        accepts=build_judge(options, partitions=range(topology.partition_count), now=now),
    )
    fetched = fetch(cache, wanted, now=now)
    rows = [row for part in fetched.parts.values() for row in part.rows]
    missing = sorted(shards[name] for name in fetched.failures)
    return StatementResult(
        rows=rows,
        seen={row["partition"]: get_seen(row) for row in rows},
        parts=tuple(fetched.parts.values()),
        missing_shards=tuple(topology.get_shard(shard_id).name for shard_id in missing),
        routes=describe_routes(topology, fetched.parts.values(), options=options, uses_cache=cache is not None),
    )


def load_parts(
    cluster: ClusterProxy,
    query: Query,
    *,
    params: Mapping[str, Any],
    partitions: Mapping[str, Sequence[int]],
    options: ReadOptions,
    choose: Callable[[Mapping[str, Any]], str] | None = None,
) -> Loaded:
    """One statement to all the shards that own any of `partitions`, by part; `choose` tells a row's part.

    Without `choose` a partition belongs to one part. A part lacks nothing only if all of its partitions were read.
    """
    part_of = {partition: name for name, own in partitions.items() for partition in own}
    gathered = _Gathered(choose or (lambda row: part_of[row["partition"]]))

    def ask(asked: Collection[int]) -> None:
        topology = cluster.topology
        result = cluster.scatter(
            query,
            params,
            partitions=asked,
            consistency=options.consistency,
            demand=find_demand(options, partitions=asked),
        )
        gathered.add(result, asked, topology=topology)

    before = cluster.topology
    ask(part_of)
    if gathered.reasons:
        cluster.refresh_topology()
        after = cluster.topology
        moved = [p for p in gathered.reasons if after.assignments[p] != before.assignments[p]]
        if moved:
            ask(moved)  # once more, where they are now
    unread = {name: [p for p in own if p in gathered.reasons] for name, own in partitions.items()}
    failures = {name: gathered.reasons[own[0]] for name, own in unread.items() if own}
    return Loaded(gathered.rows, failures, gathered.routes)


@dataclass(slots=True)
class _Gathered:
    """What was read, by part, and `reasons` by partition why it was not. A partition is read once."""

    choose: Callable[[Mapping[str, Any]], str]
    rows: dict[str, Rows] = field(default_factory=dict)
    routes: dict[str, Route | None] = field(default_factory=dict)
    reasons: dict[int, Exception] = field(default_factory=dict)

    def add(self, result: ScatterResult, asked: Collection[int], *, topology: Topology) -> None:
        for partition in asked:
            shard_id = topology.assignments[partition].shard_id
            self.reasons[partition] = result.missing.get(shard_id) or PartitionElsewhere(partition, shard_id=shard_id)
        for shard_result in result.results.values():
            for row in shard_result.rows:
                if Seen.from_row(row) is not None:
                    self.reasons.pop(row["partition"], None)
                    name = self.choose(row)
                    self.rows.setdefault(name, []).append(row)
                    self.routes[name] = shard_result.route


def _name_part(topology: Topology, shard_id: int, key: str, partitions: Sequence[int]) -> str:
    """A shard that has got or lost a partition has other parts: no partition may be added up twice, or be left out."""
    owned = struct.pack(
        f">{2 * len(partitions)}q", *(n for p in partitions for n in (p, topology.assignments[p].epoch))
    )
    return f"{key}:{shard_id}:{xxhash.xxh3_64_hexdigest(owned)}"

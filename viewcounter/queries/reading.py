"""Reads of the shards: a statement goes through the caches, and its rows come back with what the shards had applied."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route
from configservice.topology.model import EventType, Topology
from shardproxy.query import Query
from viewcounter.cache.generations import GenerationBoard
from viewcounter.cache.read_cache import CacheRequest, CacheResult, Origin, ReadCache, Rows, load_uncached
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery, PartitionElsewhere
from viewcounter.queries.freshness import ReadOptions, find_requirement
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.routes import describe_routes
from viewcounter.storage.reads import Seen


@dataclass(frozen=True, slots=True)
class StatementResult:
    """Rows of one statement, and what the shards that gave them had applied of each partition in the same snapshot.

    `seen` has exactly the partitions that were read, and is never empty. `missing`: names of the keys of which rows
    are missing. `routes`: how each shard was read, if `options.explains`.
    """

    rows: Rows
    seen: Mapping[int, Seen]
    results: Mapping[str, CacheResult]
    missing: tuple[str, ...]
    routes: tuple[Route, ...]

    def build_meta(
        self,
        *,
        sources: Collection[Source],
        now: datetime,
        approximate: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Meta:
        return build_meta(
            self.seen.values(),
            sources=sources,
            now=now,
            results=self.results.values(),
            missing=self.missing,
            routes=self.routes,
            approximate=approximate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRead(CacheRequest):
    """One statement on the shards. `names`: what each key is called when its rows are missing.

    `condense` makes the rows that are cached and returned from those that a shard gave.
    """

    cluster: ClusterProxy
    statement: Query
    params: Mapping[str, Any]
    options: ReadOptions
    names: Mapping[str, str] = field(default_factory=dict)
    condense: Callable[[Rows], Rows] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRead(StatementRead):
    """A statement on one video, which is on the shard of `partition`.

    `period_end`: the end of the period that the rows are about, if it has one and if only events of the period and
    corrections can change the rows.
    """

    partition: int
    period_end: datetime | None = None

    def load(self, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        """Raises PartitionElsewhere when the shard does not hold the partition and the newest topology names no other
        shard, and what `condense` raises."""
        query = partial(
            self.cluster.read,
            self.partition,
            self.statement,
            self.params,
            consistency=self.options.consistency,
            requirement=self.requirement,
        )
        result = query()
        if Seen.from_row(result.rows[0]) is None:
            self.cluster.refresh_topology()
            if self.cluster.topology.get_shard_of(self.partition).id != result.shard_id:
                result = query()  # the partition has moved, and this process had not heard of it
        if Seen.from_row(result.rows[0]) is None:
            raise PartitionElsewhere(self.partition, shard_id=result.shard_id)
        rows = result.rows if self.condense is None else self.condense(result.rows)
        generation = find_final_generation(rows, period_end=self.period_end)
        return dict.fromkeys(keys, CacheResult(rows, now, Origin.SHARD, generation, result.route))

    def find_generation(self, generations: GenerationBoard) -> int | None:
        return generations.find(self.cluster, self.partition)


def build_video_read(
    cluster: ClusterProxy,
    statement: Query,
    params: Mapping[str, Any],
    *,
    video_id: str,
    options: ReadOptions,
    key: str = "",
    period_end: datetime | None = None,
    condense: Callable[[Rows], Rows] | None = None,
    skip_shared_cache: bool = False,
) -> VideoRead:
    """`key` tells the statement and its parameters from every other one; a read without a cache needs none."""
    partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    return VideoRead(
        keys=[key],
        requirement=find_requirement(options, partitions=(partition,)),
        allow_cached=not options.bypasses_cache,
        skip_shared_cache=skip_shared_cache,
        cluster=cluster,
        statement=statement,
        params={"partition": partition, "video_id": video_id, **params},
        options=options,
        condense=condense,
        partition=partition,
        period_end=period_end,
    )


def read(request: StatementRead, *, now: datetime, cache: ReadCache | None = None) -> StatementResult:
    """Through `cache`, or from the shards alone where it is None. Raises what `ReadCache.fetch` raises."""
    topology = request.cluster.topology
    results = load_uncached(request, now=now) if cache is None else cache.fetch(request, now=now)
    rows = [row for result in results.values() for row in result.rows]
    seen: dict[int, Seen] = {}
    for row in rows:
        if row["partition"] not in seen:
            seen[row["partition"]] = get_seen(row)
    return StatementResult(
        rows=rows,
        seen=seen,
        results=results,
        missing=tuple(name for key, name in request.names.items() if results[key].error is not None),
        routes=describe_routes(topology, results.values(), options=request.options, uses_cache=cache is not None),
    )


def find_final_generation(rows: Rows, *, period_end: datetime | None) -> int | None:
    """The generation of rows that nothing but a correction can change; None for others.

    An event that happened before `admits_since` is no longer counted, whatever waits in a log, a spool or a dead
    letter: see decision 0005. So a period that ended by then is closed.
    """
    row = rows[0]
    is_closed = period_end is not None and period_end <= row["admits_since"]
    return row["generation"] if is_closed else None


def get_seen(row: Mapping[str, Any]) -> Seen:
    """From a row whose partition is on the shard that gave it."""
    seen = Seen.from_row(row)
    if seen is None:
        raise ValueError(f"rows of partition {row['partition']} from a shard that does not hold it")
    return seen


def get_event_type(topology: Topology, name: str) -> EventType:
    """Raises InvalidQuery naming the event types there are."""
    event_type = topology.find_event_type(name)
    if event_type is None:
        allowed = ", ".join(t.name for t in topology.event_types)
        raise InvalidQuery("event_type", "unknown_event_type", f"must be one of: {allowed}")
    return event_type

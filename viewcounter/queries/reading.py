"""What a statement on the shards gave, and the read of one video: routed by its partition."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clusterproxy.freshness import find_shortfall
from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import ReadResult, Route
from configservice.topology.model import EventType, Topology
from shardproxy.query import Query
from viewcounter.cache.read_cache import CachedPart, CacheRequest, Loaded, ReadCache, Rows, fetch
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery, PartitionElsewhere
from viewcounter.queries.freshness import DEFAULT, ReadOptions, find_demand, parse_progress
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.routes import describe_routes
from viewcounter.storage.reads import Seen


@dataclass(frozen=True, slots=True)
class StatementResult:
    """Rows of one statement, and what the shards that gave them had applied of each partition in the same snapshot.

    `seen` has exactly the partitions that were read, and is never empty. `missing_shards`: names of the shards that
    did not answer, or not for all of the partitions asked of them. `routes`: how each part was had, if the options
    ask for it.
    """

    rows: Rows
    seen: Mapping[int, Seen]
    parts: tuple[CachedPart, ...]
    missing_shards: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()

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
            parts=self.parts,
            missing=self.missing_shards,
            routes=self.routes,
            approximate=approximate,
        )


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How the rows of a question may be kept: `key` tells it from every other one.

    `find_generation` and `skip_shared_cache` are as in `CacheRequest`; the first makes sense of rows that carry their
    partition's `generation`. `condense` makes what is kept, and answered from, of the rows that a shard gave.
    """

    key: str
    cache: ReadCache | None
    find_generation: Callable[[Rows], int | None] = lambda _: None
    condense: Callable[[Rows], Rows] = lambda rows: rows
    skip_shared_cache: bool = False


NOT_KEPT = CachePolicy(key="", cache=None)


def read_video(
    cluster: ClusterProxy,
    query: Query,
    *,
    video_id: str,
    params: Mapping[str, Any],
    now: datetime,
    options: ReadOptions = DEFAULT,
    keeping: CachePolicy = NOT_KEPT,
) -> StatementResult:
    """Raises PartitionElsewhere when the shard that answered does not hold the video's partition, and the newest
    topology does not lead elsewhere; and what `condense` raises."""
    cache = keeping.cache
    topology = cluster.topology
    partition = get_partition(video_id, partition_count=topology.partition_count)

    def ask() -> ReadResult:
        return cluster.read(
            partition,
            query,
            {"partition": partition, "video_id": video_id, **params},
            consistency=options.consistency,
            demand=find_demand(options, partitions=(partition,)),
        )

    def load(keys: Sequence[str]) -> Loaded:
        result = ask()
        if Seen.from_row(result.rows[0]) is None:
            cluster.refresh_topology()
            if cluster.topology.get_shard_of(partition).id != result.shard_id:
                result = ask()  # it has moved, and we had not heard of it
        if Seen.from_row(result.rows[0]) is None:
            raise PartitionElsewhere(partition, shard_id=result.shard_id)
        return Loaded(dict.fromkeys(keys, keeping.condense(result.rows)), routes=dict.fromkeys(keys, result.route))

    wanted = CacheRequest(
        keys=[keeping.key],
        load=load,
        allow_cached=not options.insists_on_now,
        skip_shared_cache=keeping.skip_shared_cache,
        accepts=build_judge(options, partitions=(partition,), now=now),
        find_generation=keeping.find_generation,
        get_generation=lambda: None if cache is None else cache.generations.find(cluster, partition),
    )
    part = fetch(cache, wanted, now=now).parts[keeping.key]
    routes = describe_routes(topology, [part], options=options, uses_cache=cache is not None)
    return StatementResult(part.rows, {partition: get_seen(part.rows[0])}, (part,), routes=routes)


def build_judge(options: ReadOptions, *, partitions: Collection[int], now: datetime) -> Callable[[Rows], bool] | None:
    """Whether rows that were kept are what the options demand, told by the rows themselves. None: any will do."""
    demand = find_demand(options, partitions=partitions)
    if demand is None:
        return None

    def accepts(rows: Rows) -> bool:
        progress = parse_progress(rows)
        return find_shortfall(demand, progress, partitions=progress, now=now) is None

    return accepts


def get_seen(row: Mapping[str, Any]) -> Seen:
    """Of a row that is part of an answer: its partition is on the shard that gave it."""
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

"""One read of one video: routed by its partition, with what the shard has seen of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import Route
from configservice.topology import EventType, Topology
from shardproxy.query import Query
from viewcounter.events.partition import get_partition
from viewcounter.queries.errors import InvalidQuery, PartitionElsewhere
from viewcounter.queries.freshness import DEFAULT, ReadOptions, find_demand
from viewcounter.storage.reads import Seen


@dataclass(frozen=True, slots=True)
class VideoRead:
    """Rows of one video and what the shard had applied of its partition in the same snapshot.

    `routes`: the one that was taken, if the options ask for it.
    """

    rows: list[dict[str, Any]]
    seen: Seen
    routes: tuple[Route, ...] = ()


def read_video(
    cluster: ClusterProxy, query: Query, *, video_id: str, params: Mapping[str, Any], options: ReadOptions = DEFAULT
) -> VideoRead:
    """Raises PartitionElsewhere when the shard that answered does not hold the video's partition."""
    partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    result = cluster.read(
        partition,
        query,
        {"partition": partition, "video_id": video_id, **params},
        consistency=options.consistency,
        demand=find_demand(options, partitions=(partition,)),
    )
    seen = Seen.from_row(result.rows[0])
    if seen is None:
        cluster.refresh_topology()
        raise PartitionElsewhere(partition, shard_id=result.shard_id)
    routes = (result.route,) if options.explains and result.route is not None else ()
    return VideoRead(rows=result.rows, seen=seen, routes=routes)


def get_event_type(topology: Topology, name: str) -> EventType:
    """Raises InvalidQuery naming the event types there are."""
    event_type = topology.find_event_type(name)
    if event_type is None:
        allowed = ", ".join(t.name for t in topology.event_types)
        raise InvalidQuery("event_type", "unknown_event_type", f"must be one of: {allowed}")
    return event_type

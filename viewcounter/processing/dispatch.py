"""What beat looks at: which partitions have unread entries, and which are idle and complete."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from clusterproxy.errors import ClusterProxyError
from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Topology
from runtime.metrics import LOG_ENDS_RAISED
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.interface import START, EventLog, Position, Tails
from viewcounter.storage.partitions import INCOMING, OWNED, READ_STATES, accept_arrived, advance_watermarks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """`unread` partitions have entries past their position, `idle` ones have none, `lost` ones have a log that
    ends before it. Partitions of shards that did not answer are in none of them.

    `arrived`, by epoch: theirs by the topology, but their shards do not know it."""

    unread: list[int]
    idle: dict[int, str]
    lost: dict[int, Position]
    tails: Tails
    missing_shards: list[int]
    arrived: dict[int, int] = field(default_factory=dict)


def plan_backlog(positions: Mapping[int, Position], tails: Tails, *, missing_shards: list[int]) -> Backlog:
    """Pure. `positions` of the partitions that are owned and known."""
    unread, idle, lost = [], {}, {}
    for partition, position in positions.items():
        tail = tails.positions.get(partition, START)
        if tail > position:
            unread.append(partition)
        elif tail == position:
            idle[partition] = str(position)
        else:
            lost[partition] = position
    return Backlog(unread, idle, lost, tails, missing_shards)


def read_backlog(cluster: ClusterProxy, log: EventLog) -> Backlog:
    """Tails first, positions after: a partition called idle had applied all that the log held at `tails.read_at`."""
    looked_at = datetime.now(UTC)
    tails = log.read_tails(range(cluster.topology.partition_count))
    tails = replace(tails, read_at=min(tails.read_at, looked_at))  # a clock that is ahead promises nothing
    topology = cluster.topology
    scattered = cluster.scatter(READ_STATES, {}, consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows]
    positions = {row["partition"]: Position.parse(row["position"]) for row in rows if row["state"] == OWNED}
    backlog = plan_backlog(positions, tails, missing_shards=sorted(scattered.missing))
    incoming = {row["partition"]: row["epoch"] for row in rows if row["state"] == INCOMING}
    arrived = {p: epoch for p, epoch in incoming.items() if topology.assignments[p].epoch == epoch}
    return replace(backlog, arrived=arrived)


def accept_arrivals(cluster: ClusterProxy, arrived: Mapping[int, int]) -> None:
    """Own what is ours, by epoch. A shard knows when a partition has come to it, unless a failover made it forget.

    One that does not answer keeps nobody from those of the others; nor in `publish_watermarks`.
    """
    for shard in cluster.topology.shards:
        epochs = {p: arrived[p] for p in cluster.topology.get_partitions_of(shard.id) if p in arrived}
        if not epochs:
            continue
        try:
            with cluster.shard_transaction(shard.id) as connection:
                accept_arrived(connection, epochs)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("partitions that came to %s wait: %s", shard.name, error)
        else:
            logger.warning("%s has forgotten that partitions %s came to it; it owns them again", shard.name, [*epochs])


def group_by_shard(topology: Topology, partitions: Iterable[int]) -> dict[int, list[int]]:
    """By the shard's id."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for partition in partitions:
        groups[topology.get_shard_of(partition).id].append(partition)
    return dict(groups)


def repair_log(log: EventLog, lost: Mapping[int, Position]) -> dict[int, Position]:
    """Positions must only grow: lift the end of a log that lost its entries above what has been applied.

    Returns what was lifted, which is what has lost something. Entries that the log still holds are read again.
    """
    raised = {}
    for partition, position in lost.items():
        moved_count = log.raise_tail(partition, to=position)
        if moved_count is not None:
            raised[partition] = position
            LOG_ENDS_RAISED.inc()
            logger.error(
                "the log of partition %d ended before the applied position %s: its server has lost entries. What was "
                "acknowledged after that position and is not in the log is lost; new entries, and the %d that it still "
                "holds, follow that position",
                partition,
                position,
                moved_count,
            )
    return raised


def publish_watermarks(cluster: ClusterProxy, backlog: Backlog) -> int:
    """Tell readers that idle partitions are complete up to `tails.read_at`. Returns how many moved."""
    moved = 0
    for shard in cluster.topology.shards:
        if shard.id in backlog.missing_shards:
            continue
        idle = {p: backlog.idle[p] for p in cluster.topology.get_partitions_of(shard.id) if p in backlog.idle}
        if not idle:
            continue
        epochs = {p: cluster.topology.assignments[p].epoch for p in idle}
        try:
            with cluster.shard_transaction(shard.id) as connection:
                moved += advance_watermarks(connection, idle, epochs=epochs, read_at=backlog.tails.read_at)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("watermarks of idle partitions on %s stand still: %s", shard.name, error)
    return moved

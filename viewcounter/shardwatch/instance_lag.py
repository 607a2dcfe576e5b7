"""Lag of each replica behind its primary: bytes of WAL, partitions, and events.

Lag in seconds bounds the age of a replica's rows; these figures say how many counted events they lack. Replicas are
read before the primary: flushes applied in between make the lag too large, never too small.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from clusterproxy.registry import InstanceRegistry
from configservice.topology.model import Instance, Shard, Topology
from runtime.metrics import INSTANCE_LAG_BYTES, INSTANCE_LAG_EVENTS, INSTANCE_LAG_PARTITIONS
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.storage.instances import READ_APPLIED, Applied, build_applied

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceLag:
    """Lag of one instance behind its primary; 0 throughout for the primary itself."""

    shard: str
    instance: str
    bytes_behind: int
    partitions_behind: int
    events_behind: int


def measure_shard_lag(
    registry: InstanceRegistry, log: EventLog, topology: Topology, shard: Shard, *, seconds: float
) -> list[InstanceLag]:
    """Lag of every instance that answers within `seconds`; empty while the shard has no primary.

    Raises ShardProxyError when the primary does not answer, and EventLogError.
    """
    primary = shard.primary
    if primary is None:
        return []
    partitions = topology.get_partitions_of(shard.id)
    copies: dict[str, Applied] = {}
    for replica in shard.replicas:
        try:
            copies[replica.name] = _read_applied(registry, replica, partitions, seconds=seconds)
        except ShardProxyError as error:
            logger.debug("cannot measure the lag of %s: %s", replica.name, error)
    truth = _read_applied(registry, primary, partitions, seconds=seconds)
    own = InstanceLag(shard.name, primary.name, bytes_behind=0, partitions_behind=0, events_behind=0)
    return [own, *(compute_lag(shard.name, name, copy, truth, log=log) for name, copy in copies.items())]


def compute_lag(shard: str, instance: str, copy: Applied, truth: Applied, *, log: EventLog) -> InstanceLag:
    """Queries the event log for lagging partitions only. Raises EventLogError."""
    late = find_late(copy, truth)
    events_behind = 0
    if late:
        after_copy = log.read_unread({partition: theirs for partition, (theirs, _) in late.items()})
        after_truth = log.read_unread({partition: ours for partition, (_, ours) in late.items()})
        events_behind = sum(max(0, after_copy.events[p] - after_truth.events[p]) for p in late)
    return InstanceLag(
        shard=shard,
        instance=instance,
        bytes_behind=max(0, truth.wal_bytes - copy.wal_bytes),
        partitions_behind=len(late),
        events_behind=events_behind,
    )


def find_late(copy: Applied, truth: Applied) -> Mapping[int, tuple[Position, Position]]:
    """Positions of replica and primary, by partition, where the replica's is lower. Pure."""
    both = {
        partition: (Position.parse(copy.positions[partition]), Position.parse(position))
        for partition, position in truth.positions.items()
        if partition in copy.positions
    }
    return {partition: (theirs, ours) for partition, (theirs, ours) in both.items() if theirs < ours}


def publish_instance_lag(lag: InstanceLag) -> None:
    labels = (lag.shard, lag.instance)
    INSTANCE_LAG_BYTES.labels(*labels).set(lag.bytes_behind)
    INSTANCE_LAG_PARTITIONS.labels(*labels).set(lag.partitions_behind)
    INSTANCE_LAG_EVENTS.labels(*labels).set(lag.events_behind)


def _read_applied(registry: InstanceRegistry, instance: Instance, partitions: list[int], *, seconds: float) -> Applied:
    deadline_at = time.monotonic() + seconds
    return build_applied(registry.get(instance).read(READ_APPLIED, {"partitions": partitions}, deadline_at=deadline_at))

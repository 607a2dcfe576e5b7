"""Stopped partitions: list them with their reasons, resume them."""

import logging
from dataclasses import dataclass
from datetime import datetime

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from runtime.metrics import DEAD_LETTERS, STOPPED_PARTITIONS
from shardproxy.query import QueryClass
from viewcounter.storage.dead_letter_limits import READ_STOPPED, StopReason, resume_partition
from viewcounter.storage.dead_letters import COUNT_NEW

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoppedPartition:
    """`position` is the last one applied, `term-seq`; `reason` is a StopReason."""

    partition: int
    position: str
    reason: str
    detail: str
    stopped_at: datetime | None


def list_stopped(cluster: ClusterProxy) -> list[StoppedPartition]:
    """Sorted by partition. Partitions of a shard that does not answer are missing."""
    scattered = cluster.scatter(READ_STOPPED, {}, consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows]
    stopped = [
        StoppedPartition(row["partition"], row["position"], row["stop_reason"], row["stop_detail"], row["stopped_at"])
        for row in rows
    ]
    return sorted(stopped, key=lambda one: one.partition)


def resume(cluster: ClusterProxy, partition: int, *, actor: str, accept_dead_letters: int = 0) -> bool:
    """Resume a stopped partition; beat drains it within a second. False if the partition is not stopped.

    Its next `accept_dead_letters` dead letters are written whatever the limits say. Without them the same range
    stops it again, unless the cause is gone. Raises IndexError for an unknown partition.
    """
    with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
        has_resumed = resume_partition(
            connection,
            partition=partition,
            epoch=cluster.topology.assignments[partition].epoch,
            actor=actor,
            allowance=accept_dead_letters,
        )
    if has_resumed:
        logger.warning(
            "partition %d is resumed by %s; %d dead letters are accepted", partition, actor, accept_dead_letters
        )
    return has_resumed


def measure_dead_letters(cluster: ClusterProxy) -> None:
    """Set the gauges. Partitions of a shard that does not answer keep their last value until it expires."""
    counted = cluster.scatter(COUNT_NEW, {}, consistency=Consistency.STRONG)
    for result in counted.results.values():
        for row in result.rows:
            DEAD_LETTERS.labels(str(row["partition"])).set(row["count"])
    reasons = [one.reason for one in list_stopped(cluster)]
    for reason in StopReason:
        STOPPED_PARTITIONS.labels(reason.value).set(reasons.count(reason.value))

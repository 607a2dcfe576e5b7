"""Trims the log, shard by shard, below the position that every promotable copy had applied a safety time ago.

A shard that is down delays only itself.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Shard
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.storage.partitions import MOVED, READ_STATES, read_incoming
from viewcounter.storage.trim_marks import mark_applied

logger = logging.getLogger(__name__)


def trim_log_everywhere(cluster: ClusterProxy, log: EventLog, *, safety_seconds: float) -> int:
    """Trim each partition below the smallest position of *every* promotable instance of its shard.

    One that cannot be read stops the trimming of its shard: it may be the next primary, and what it has not
    applied must still be in the log. Returns the number of entries forgotten.
    """
    incoming = _read_incoming(cluster)
    return sum(
        _trim_shard(cluster, log, shard, incoming=incoming, safety_seconds=safety_seconds)
        for shard in cluster.topology.shards
    )


def _read_incoming(cluster: ClusterProxy) -> dict[int, list[Position]]:
    """Positions at which copies of partitions that are being moved read the log.

    One that is overlooked, because its shard does not answer, finds the log trimmed, and its mover makes it anew.
    """
    found: defaultdict[int, list[Position]] = defaultdict(list)
    for shard in cluster.topology.shards:
        try:
            with cluster.shard_transaction(shard.id) as connection:
                for partition, position in read_incoming(connection).items():
                    found[partition].append(Position.parse(position))
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("copies of moving partitions on %s cannot be read: %s", shard.name, error)
    return found


def _trim_shard(
    cluster: ClusterProxy,
    log: EventLog,
    shard: Shard,
    *,
    incoming: Mapping[int, list[Position]],
    safety_seconds: float,
) -> int:
    copies = _read_copies(cluster, shard)
    lowest = {p: min([*positions, *incoming.get(p, [])]) for p, positions in copies.items()}
    if not lowest:
        return 0
    try:
        with cluster.shard_transaction(shard.id) as connection:
            marks = mark_applied(
                connection, {p: str(position) for p, position in lowest.items()}, safety_seconds=safety_seconds
            )
    except (ShardProxyError, ClusterProxyError) as error:
        logger.warning("log of %s is not trimmed: its primary does not answer: %s", shard.name, error)
        return 0
    return sum(log.trim(p, through=min(lowest[p], Position.parse(mark))) for p, mark in marks.items())


def _read_copies(cluster: ClusterProxy, shard: Shard) -> dict[int, list[Position]]:
    """Positions of all promotable instances by partition; none if one of them cannot be read."""
    partitions = cluster.topology.get_partitions_of(shard.id)
    if not partitions:
        return {}
    answers = cluster.query_promotable_instances(shard.id, READ_STATES, {"partitions": partitions})
    positions: dict[int, list[Position]] = {p: [] for p in partitions}
    for instance, answer in answers.items():
        if isinstance(answer, Exception):
            logger.warning("log of %s is not trimmed: %s cannot be read: %s", shard.name, instance, answer)
            return {}
        for row in answer.rows:
            if row["state"] != MOVED:  # the topology is out of date
                positions[row["partition"]].append(Position.parse(row["position"]))
    return {partition: found for partition, found in positions.items() if len(found) == len(answers)}

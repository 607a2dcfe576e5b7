"""Care for every shard in turn: trimming the log, making day partitions. A shard that is down delays only itself."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology import Shard
from shardproxy.errors import ShardProxyError
from viewcounter.config import get_config
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.processing.dispatch import get_trim_point
from viewcounter.storage.partitions import MOVED, READ_STATES, read_incoming
from viewcounter.storage.raw_days import ensure_raw_days

logger = logging.getLogger(__name__)


def trim_log_everywhere(cluster: ClusterProxy, log: EventLog, *, now: datetime) -> int:
    """Trim each partition below the smallest position of *every* promotable instance of its shard.

    One that cannot be read stops the trimming of its shard: it may be the next primary, and what it has not
    applied must still be in the log. Returns the number of entries forgotten.
    """
    incoming = _read_incoming(cluster)
    return sum(_trim_shard(cluster, log, shard, incoming=incoming, now=now) for shard in cluster.topology.shards)


def _read_incoming(cluster: ClusterProxy) -> dict[int, list[Position]]:
    """Where copies of partitions that are being moved will go on reading the log.

    One that is overlooked, because its shard does not answer, finds the log trimmed, and its mover makes it anew.
    """
    found: defaultdict[int, list[Position]] = defaultdict(list)
    for shard in cluster.topology.shards:
        try:
            with cluster.shard_transaction(shard.id) as connection:
                for partition, position in read_incoming(connection).items():
                    found[partition].append(Position.parse(position))
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("copies of partitions on %s are not known: %s", shard.name, error)
    return found


def _trim_shard(
    cluster: ClusterProxy, log: EventLog, shard: Shard, *, incoming: Mapping[int, list[Position]], now: datetime
) -> int:
    partitions = cluster.topology.get_partitions_of(shard.id)
    if not partitions:
        return 0
    answers = cluster.read_every_instance(shard.id, READ_STATES, {"partitions": partitions})
    positions: dict[int, list[Position]] = {p: [] for p in partitions}
    for instance, answer in answers.items():
        if isinstance(answer, Exception):
            logger.warning("log of %s is not trimmed: %s cannot be read: %s", shard.name, instance, answer)
            return 0
        for row in answer.rows:
            if row["state"] != MOVED:  # our topology is old
                positions[row["partition"]].append(Position.parse(row["position"]))
    safety_seconds = get_config().trim_safety_seconds
    return sum(
        log.trim(
            partition,
            through=get_trim_point([*found, *incoming.get(partition, [])], now=now, safety_seconds=safety_seconds),
        )
        for partition, found in positions.items()
        if len(found) == len(answers)
    )


def ensure_raw_days_everywhere(cluster: ClusterProxy, *, today: date) -> None:
    for shard in cluster.topology.shards:
        try:
            with cluster.shard_transaction(shard.id) as connection:
                created = ensure_raw_days(connection, today=today)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("day partitions of raw events not made on %s: %s", shard.name, error)
        else:
            if created:
                logger.info("made day partitions on %s: %s", shard.name, ", ".join(map(str, created)))

"""Care for every shard in turn: trimming the log, making day partitions. A shard that is down delays only itself."""

import logging
from datetime import date, datetime

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology import Shard
from shardproxy.errors import ShardProxyError
from viewcounter.config import get_config
from viewcounter.eventlog.interface import EventLog, Position
from viewcounter.processing.dispatch import get_trim_point
from viewcounter.storage.partitions import READ_STATES
from viewcounter.storage.raw_days import ensure_raw_days

logger = logging.getLogger(__name__)


def trim_log_everywhere(cluster: ClusterProxy, log: EventLog, *, now: datetime) -> int:
    """Trim each partition below the smallest position of *every* promotable instance of its shard.

    One that cannot be read stops the trimming of its shard: it may be the next primary, and what it has not
    applied must still be in the log. Returns the number of entries forgotten.
    """
    return sum(_trim_shard(cluster, log, shard, now=now) for shard in cluster.topology.shards)


def _trim_shard(cluster: ClusterProxy, log: EventLog, shard: Shard, *, now: datetime) -> int:
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
            positions[row["partition"]].append(Position.parse(row["position"]))
    safety_seconds = get_config().trim_safety_seconds
    return sum(
        log.trim(partition, through=get_trim_point(found, now=now, safety_seconds=safety_seconds))
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

"""Trims the log, shard by shard, below the position that every promotable copy had applied a safety time ago.

A shard that is down delays only itself.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Shard
from shardproxy.errors import ShardProxyError
from viewcounter.config import get_config
from viewcounter.eventlog.interface import START, EventLog, Position
from viewcounter.storage.partitions import MOVED, READ_STATES, read_incoming

logger = logging.getLogger(__name__)


class AppliedEarlier:
    """Positions that every copy of a partition had applied a safety time ago, by this process's monotonic clock.

    The age of a position is by the log server's clock. If that clock was ahead and has been set back, the age is wrong
    for as long as it was ahead. Invariant: `find` returns a position that was recorded at least `safety_seconds` ago.
    """

    def __init__(self, *, safety_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._safety_seconds = safety_seconds
        self._clock = clock
        self._noted: dict[int, _Noted] = {}

    def record(self, partition: int, applied: Position) -> None:
        now = self._clock()
        last = self._noted.get(partition)
        if last is None:
            self._noted[partition] = _Noted(now, applied, ripe=START)
        elif now - last.at >= self._safety_seconds:
            self._noted[partition] = _Noted(now, applied, ripe=last.applied)

    def find(self, partition: int) -> Position:
        """START while unknown."""
        noted = self._noted.get(partition)
        return START if noted is None else noted.ripe


@dataclass(frozen=True, slots=True)
class _Noted:
    at: float
    applied: Position
    ripe: Position


def get_trim_point(
    positions: list[Position], *, now: datetime, safety_seconds: float, applied_earlier: Position = START
) -> Position:
    """The last position that may be trimmed: below every copy's position, and older than the safety time by the log's
    clock or by this process's (`applied_earlier`)."""
    safe_ms = int((now.astimezone(UTC).timestamp() - safety_seconds) * 1000)
    return min([*positions, max(Position(safe_ms, 0), applied_earlier)])


def trim_log_everywhere(
    cluster: ClusterProxy, log: EventLog, *, now: datetime, earlier: AppliedEarlier | None = None
) -> int:
    """Trim each partition below the smallest position of *every* promotable instance of its shard.

    One that cannot be read stops the trimming of its shard: it may be the next primary, and what it has not
    applied must still be in the log. Returns the number of entries forgotten.
    """
    incoming = _read_incoming(cluster)
    earlier = earlier or AppliedEarlier(safety_seconds=get_config().trim.safety_seconds)
    return sum(
        _trim_shard(cluster, log, shard, incoming=incoming, earlier=earlier, now=now)
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
    earlier: AppliedEarlier,
    now: datetime,
) -> int:
    partitions = cluster.topology.get_partitions_of(shard.id)
    if not partitions:
        return 0
    answers = cluster.query_promotable_instances(shard.id, READ_STATES, {"partitions": partitions})
    positions: dict[int, list[Position]] = {p: [] for p in partitions}
    for instance, answer in answers.items():
        if isinstance(answer, Exception):
            logger.warning("log of %s is not trimmed: %s cannot be read: %s", shard.name, instance, answer)
            return 0
        for row in answer.rows:
            if row["state"] != MOVED:  # the topology is out of date
                positions[row["partition"]].append(Position.parse(row["position"]))
    trimmed = 0
    for partition, found in positions.items():
        if len(found) != len(answers):
            continue
        copies = [*found, *incoming.get(partition, [])]
        earlier.record(partition, min(copies))
        through = get_trim_point(
            copies,
            now=now,
            safety_seconds=get_config().trim.safety_seconds,
            applied_earlier=earlier.find(partition),
        )
        trimmed += log.trim(partition, through=through)
    return trimmed

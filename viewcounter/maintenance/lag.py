"""Lag of each partition behind the event log, in events, bytes and seconds, and the age of its watermark.

Events are counted exactly, by the running number in each log entry; bytes are an estimate of the log server. Seconds
and the age of the watermark are measured by the middle one of the clocks of log server, shards and this process: events
would be shed if one of them that is wrong were believed.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Topology
from runtime.metrics import (
    LAG_BYTES,
    LAG_EVENTS,
    LAG_SECONDS,
    LOG_CLOCK_AHEAD_SECONDS,
    UNMEASURED_PARTITIONS,
    WATERMARK_AGE_SECONDS,
)
from viewcounter.eventlog.interface import EventLog, Position, Unread
from viewcounter.eventlog.lag_notice import LagNotice
from viewcounter.storage.partitions import READ_STATES


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`events_behind`: events in the log after `position` (`term-seq`). `bytes_behind`: their estimated size on the log
    server. `seconds_behind`: age of the oldest of them.

    All are 0 when everything has been applied. Answers are complete until `watermark`.
    """

    partition: int
    shard: str
    state: str
    position: str
    watermark: datetime
    events_behind: int
    bytes_behind: int
    seconds_behind: float
    watermark_age_seconds: float
    owner: str | None = None
    """Pull process that drains the partition, which may have ended; None: none."""


@dataclass(frozen=True, slots=True)
class ClusterLag:
    """`partitions` in ascending order. `missing`: partitions whose shard did not answer; their lag is unknown."""

    measured_at: datetime
    partitions: tuple[PartitionLag, ...]
    missing: tuple[int, ...]
    log_ahead_seconds: float = 0.0
    """How far the log server's clock is ahead of this process's."""

    @property
    def events_behind(self) -> int:
        return sum(lag.events_behind for lag in self.partitions)

    @property
    def bytes_behind(self) -> int:
        return sum(lag.bytes_behind for lag in self.partitions)

    @property
    def seconds_behind(self) -> float:
        return max((lag.seconds_behind for lag in self.partitions), default=0.0)

    @property
    def notice(self) -> LagNotice:
        """The notice for gateways. Its seconds are the median of the measured partitions, so that a stopped one does
        not make them shed events."""
        ages = sorted(lag.seconds_behind for lag in self.partitions)
        return LagNotice(self.bytes_behind, ages[(len(ages) - 1) // 2] if ages else 0.0)

    @property
    def unread_count(self) -> int:
        return sum(lag.events_behind > 0 for lag in self.partitions)


def read_lag(cluster: ClusterProxy, log: EventLog) -> ClusterLag:
    """Reads positions before the log: events applied in between make the lag too large, never too small.

    Raises the errors of the log and of the topology.
    """
    topology = cluster.topology
    scattered = cluster.scatter(READ_STATES, {}, consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows]
    now = datetime.now(UTC)
    unread = log.read_unread({row["partition"]: Position.parse(row["position"]) for row in rows})
    ahead_seconds = (unread.read_at - now).total_seconds()
    shard_clocks = [result.rows[0]["read_at"] for result in scattered.results.values() if result.rows]
    measured_at = choose_clock([now, unread.read_at, *shard_clocks])
    return replace(build_lag(rows, unread, topology=topology, now=measured_at), log_ahead_seconds=ahead_seconds)


def choose_clock(clocks: Sequence[datetime]) -> datetime:
    """The middle one; of an even number the earlier of the two: too small a lag sheds nothing."""
    return statistics.median_low(clocks)


def build_lag(rows: Iterable[Mapping[str, Any]], unread: Unread, *, topology: Topology, now: datetime) -> ClusterLag:
    """Pure. `rows`: the result of READ_STATES."""
    by_partition = {row["partition"]: row for row in rows}
    known = sorted(by_partition)
    return ClusterLag(
        measured_at=now,
        partitions=tuple(_build_partition_lag(by_partition[p], unread, topology=topology, now=now) for p in known),
        missing=tuple(p for p in range(topology.partition_count) if p not in by_partition),
    )


def _build_partition_lag(row: Mapping[str, Any], unread: Unread, *, topology: Topology, now: datetime) -> PartitionLag:
    partition = row["partition"]
    oldest = unread.oldest.get(partition)
    return PartitionLag(
        partition=partition,
        shard=topology.get_shard_of(partition).name,
        state=row["state"],
        position=row["position"],
        watermark=row["watermark"].astimezone(UTC),
        events_behind=unread.events[partition],
        bytes_behind=unread.bytes[partition],
        seconds_behind=0.0 if oldest is None else _get_age_seconds(oldest, now),
        watermark_age_seconds=_get_age_seconds(row["watermark"], now),
        owner=row["owner"],
    )


def _get_age_seconds(instant: datetime, now: datetime) -> float:
    return max(0.0, round((now - instant).total_seconds(), 3))


def publish_lag(lag: ClusterLag) -> None:
    """Set the gauges. Those of missing partitions keep their last value until it expires."""
    for partition in lag.partitions:
        label = str(partition.partition)
        LAG_EVENTS.labels(label).set(partition.events_behind)
        LAG_BYTES.labels(label).set(partition.bytes_behind)
        LAG_SECONDS.labels(label).set(partition.seconds_behind)
        WATERMARK_AGE_SECONDS.labels(label).set(partition.watermark_age_seconds)
    UNMEASURED_PARTITIONS.set(len(lag.missing))
    LOG_CLOCK_AHEAD_SECONDS.set(lag.log_ahead_seconds)

"""Errors of the cluster, above those of single instances in `shardproxy.errors`; docstrings are for operators."""

from collections.abc import Mapping

from clusterproxy.freshness import FreshnessLag, LostPosition
from runtime.errors import Permanent, Retryable
from shardproxy.errors import ShardProxyError


class ClusterProxyError(Exception):
    """The cluster as a whole failed a call."""


class NoTopology(ClusterProxyError, Retryable):
    """No topology source answers and no disk copy exists: run `manage.py init_cluster`, or check the sources."""


class SourceUnavailable(ClusterProxyError, Retryable):
    """No topology source answers. The topology in memory or on disk stays in use."""


class ShardUnavailable(ClusterProxyError, Retryable):
    """No instance of this shard is usable: its partitions cannot be read, or written, at the moment.

    `failures`: the reason by instance name; `partitions`: those of the call.
    """

    def __init__(
        self, *, shard: str, partitions: tuple[int, ...], reason: str, failures: Mapping[str, ShardProxyError]
    ) -> None:
        super().__init__(f"{shard} (partitions {_abbreviate(partitions)}): {reason}")
        self.shard = shard
        self.partitions = partitions
        self.failures = failures


class PrimaryUnavailable(ShardUnavailable):
    """A read with strong consistency found no primary: a failover is under way. Other reads use replicas."""


class QuorumUnavailable(ShardUnavailable):
    """Fewer instances of this shard answer than a quorum read needs. Other reads are not affected."""


class NotFreshEnough(ClusterProxyError, Retryable):
    """No instance met the freshness requirement of a read in time: drains or replicas are behind."""

    def __init__(self, *, shard: str, lag: FreshnessLag) -> None:
        reached = lag.reached
        super().__init__(
            f"{shard}: partition {lag.partition} is at {reached.position}, complete until {reached.watermark}"
        )
        self.shard = shard
        self.lag = lag


class PositionLost(ClusterProxyError, Permanent):
    """A read requires a position whose entry the event log has lost: the events have to be sent again."""

    def __init__(self, lost: LostPosition) -> None:
        super().__init__(f"position {lost.required} of partition {lost.partition} is lost")
        self.lost = lost


class TooManyWaiting(ClusterProxyError, Retryable):
    """The bound of reads that wait for fresh rows in this process (`read_max_waiting`) is reached: load was shed."""


def _abbreviate(partitions: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, partitions[:8]))
    return shown if len(partitions) <= 8 else f"{shown} and {len(partitions) - 8} more"

"""What can go wrong above single instances (those: `shardproxy.errors`); each docstring is the operator's message."""

from collections.abc import Mapping

from clusterproxy.freshness import FreshnessLag
from runtime.errors import Retryable
from shardproxy.errors import ShardProxyError


class ClusterProxyError(Exception):
    """The cluster as a whole did not do what was asked."""


class NoTopology(ClusterProxyError, Retryable):
    """No topology source answers and no disk copy exists: run `manage.py init_cluster`, or check the sources."""


class SourceUnavailable(ClusterProxyError, Retryable):
    """No topology source answers. What is already known, in memory or on disk, goes on being used."""


class ShardUnavailable(ClusterProxyError, Retryable):
    """No instance of this shard could be used: its partitions cannot be read, or written, at the moment.

    `failures` holds the reason by instance name; `partitions` what the caller asked for.
    """

    def __init__(
        self, *, shard: str, partitions: tuple[int, ...], reason: str, failures: Mapping[str, ShardProxyError]
    ) -> None:
        super().__init__(f"{shard} (partitions {_abbreviate(partitions)}): {reason}")
        self.shard = shard
        self.partitions = partitions
        self.failures = failures


class PrimaryUnavailable(ShardUnavailable):
    """A read that only the primary may answer found none: a failover is under way. Other reads go on from replicas."""


class QuorumUnavailable(ShardUnavailable):
    """Fewer instances of this shard answer than a quorum read needs. Other reads go on."""


class NotFarEnough(ClusterProxyError, Retryable):
    """The instances that answer have not seen in time what a read demanded: drains or replicas are behind."""

    def __init__(self, *, shard: str, shortfall: FreshnessLag) -> None:
        reached = shortfall.reached
        super().__init__(
            f"{shard}: partition {shortfall.partition} is at {reached.position}, complete until {reached.watermark}"
        )
        self.shard = shard
        self.shortfall = shortfall


class TooManyWaiting(ClusterProxyError, Retryable):
    """As many reads of this process wait for what they demand as may: load was shed."""


def _abbreviate(partitions: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, partitions[:8]))
    return shown if len(partitions) <= 8 else f"{shown} and {len(partitions) - 8} more"

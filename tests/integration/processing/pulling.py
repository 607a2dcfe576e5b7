"""What a pull process does besides draining, once: claim partitions, advance idle watermarks, repair the log."""

from collections.abc import Collection
from datetime import UTC, datetime

from clusterproxy.proxy import ClusterProxy
from viewcounter.eventlog.interface import EventLog
from viewcounter.processing.idle_watermarks import advance_idle_watermarks
from viewcounter.processing.ownership import ShardOwnership, WorkerId
from viewcounter.processing.settings import PullSettings
from viewcounter.storage.leases import OwnedPartition

SETTINGS = PullSettings(lease_seconds=60.0)
"""No lease ends because the machine is slow."""


def claim_partitions_of(cluster: ClusterProxy, shard_id: int) -> Collection[OwnedPartition]:
    """As one pull process alone would drain them; its lease has ended when this returns."""
    ownership = ShardOwnership(cluster, shard_id, worker=WorkerId("the only one", datetime.now(UTC)), settings=SETTINGS)
    for _ in range(3):  # one accepts those that have come, one claims, one sees them
        ownership.renew()
    claimed = ownership.drained.values()
    ownership.release()
    return claimed


def find_claimed(cluster: ClusterProxy) -> set[int]:
    return {row.partition for shard in cluster.topology.shards for row in claim_partitions_of(cluster, shard.id)}


def advance_idle(cluster: ClusterProxy, log: EventLog, *, now: datetime | None = None) -> int:
    """The number of watermarks that moved, of all partitions."""
    return sum(
        advance_idle_watermarks(
            cluster, log, shard.id, claim_partitions_of(cluster, shard.id), now=now or datetime.now(UTC)
        )
        for shard in cluster.topology.shards
    )

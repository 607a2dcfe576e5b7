"""Bounds of one process's cluster proxy, each with its unit."""

from dataclasses import dataclass, field
from pathlib import Path

from clusterproxy.balancing import Balancer
from shardproxy.settings import PoolSettings


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`zone` is that of this process; `state_dir` holds the disk copy of the topology."""

    state_dir: Path
    cluster_id: str = ""
    """Topologies of other clusters are refused; empty: the id of the disk copy, or else of the first source."""
    topology_public_keys: str = ""
    """Keys that verify topologies, see `configservice.topology.keys`; empty: signatures are not verified."""
    zone: str = "local"
    pool: PoolSettings = field(default_factory=PoolSettings)
    scatter_seconds: float = 5.0
    scatter_max_threads: int = 16
    scatter_max_waiting: int = 64
    """Shard queries queued for a scatter thread; beyond it a scatter sheds and names those shards as missing."""
    replica_max_lag_seconds: float = 10.0
    read_balancer: Balancer = Balancer.ROUND_ROBIN
    read_wait_seconds: float = 2.0
    """How long a read waits in total for an instance that meets its freshness requirement."""
    read_poll_seconds: float = 0.02
    """Interval of the polls of an instance's progress, shared by all reads that wait for it."""
    read_max_waiting: int = 256
    """Bound of reads that wait; others are shed."""
    topology_poll_seconds: float = 0.5
    topology_refresh_min_seconds: float = 0.2
    """A refresh within this time of the last one uses its result."""
    topology_refresh_wait_seconds: float = 0.5
    """How long a call that failed waits for newer topology."""
    topology_first_wait_seconds: float = 5.0
    """How long the first call of a process waits for the sources before it takes the disk copy, or fails."""
    health_interval_seconds: float = 1.0
    health_probe_seconds: float = 1.0
    health_max_threads: int = 4

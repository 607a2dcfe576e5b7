"""Bounds of one process's cluster proxy, each with its unit."""

from dataclasses import dataclass, field
from pathlib import Path

from clusterproxy.balancing import Balancer
from shardproxy.settings import PoolSettings


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`zone` is this process's own; `state_dir` keeps the disk copy of the topology."""

    state_dir: Path
    cluster_id: str = ""
    """Topologies of other clusters are refused; empty: the disk copy says which one it is, else the first source."""
    topology_public_keys: str = ""
    """Of who signs topologies, see `configservice.topology.keys`; empty: nothing is verified."""
    zone: str = "local"
    pool: PoolSettings = field(default_factory=PoolSettings)
    scatter_seconds: float = 5.0
    scatter_max_threads: int = 16
    scatter_max_waiting: int = 64
    """Shard queries queued for a scatter thread; beyond it a scatter sheds and names those shards as missing."""
    replica_max_lag_seconds: float = 10.0
    read_balancer: Balancer = Balancer.ROUND_ROBIN
    read_wait_seconds: float = 2.0
    """How long a read waits, all in all, until an instance has seen what it demands."""
    read_poll_seconds: float = 0.02
    """Each instance is asked this often how far it is, for all reads that wait for it."""
    read_max_waiting: int = 256
    """Reads that wait; beyond it they are shed."""
    topology_poll_seconds: float = 0.5
    topology_refresh_min_seconds: float = 0.2
    """Refreshes asked for within this time of the last answer are answered by it."""
    topology_refresh_wait_seconds: float = 0.5
    """How long a call that failed waits for newer topology before it gives up."""
    topology_first_wait_seconds: float = 5.0
    """How long the first call of a process waits for the sources before it takes the disk copy, or fails."""
    health_interval_seconds: float = 1.0
    health_probe_seconds: float = 1.0
    health_max_threads: int = 4

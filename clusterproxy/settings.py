"""Settings of one process's cluster proxy, each with its unit."""

from dataclasses import dataclass
from uuid import UUID

from clusterproxy.balancing import Balancer
from configservice.topology.keys import check_public_keys
from runtime.settings import setting


def normalise_cluster_id(text: str) -> str:
    """As shards and topologies write it. Raises ValueError."""
    return str(UUID(text)) if text else ""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Cluster proxy: topology, health of instances, reads and scatters."""

    id: str = setting(
        "",
        "UUID of the cluster, as init_cluster prints it; topologies of other clusters are refused. Empty: learned from"
        " the disk copy of the topology, else from the first source that answers.",
        parse=normalise_cluster_id,
    )
    zone: str = setting("local", "Zone of this process; reads prefer replicas of the same zone.")
    topology_public_keys: str = setting(
        "",
        "Public keys, separated by commas, or file:/path of a file that holds them, one a line, and is read anew for"
        " each use; a process believes only topologies signed by one of them (topology.md). Empty: signatures are not"
        " verified and only the control database is believed.",
        parse=check_public_keys,
    )
    topology_poll_seconds: float = setting(
        0.5, "Interval at which a process looks for a new epoch of the topology when none is pushed to it."
    )
    topology_fed_poll_seconds: float = setting(
        5.0,
        "Interval at which a process looks for a new epoch of the topology while epochs are pushed to it, in case one"
        " is lost. A call that fails for an old topology looks at once.",
    )
    topology_refresh_min_seconds: float = 0.2
    """A refresh within this time of the last one uses its result."""
    topology_refresh_wait_seconds: float = 0.5
    """How long a call that failed waits for newer topology before it gives up."""
    topology_first_wait_seconds: float = setting(
        5.0, "Time that a starting process waits for a source of the topology; then it starts from its disk copy."
    )
    health_interval_seconds: float = setting(1.0, "Interval at which each process probes each instance.")
    health_probe_seconds: float = setting(
        1.0, "Maximum duration of one probe of an instance; then the probe has failed."
    )
    health_max_threads: int = 4
    replica_max_lag_seconds: float = setting(
        10.0, "Lag beyond which a replica is read only if no fresher copy answers."
    )
    read_balancer: Balancer = setting(
        Balancer.ROUND_ROBIN,
        "How reads are spread over equal replicas: round_robin, least_connections, least_response_time or hash.",
    )
    read_wait_seconds: float = setting(
        2.0, "Maximum total wait of a read for a copy that has applied what the read demands; then 504."
    )
    read_poll_seconds: float = setting(
        0.02, "Interval at which the position of a copy is read on behalf of all reads that wait for it."
    )
    read_request_seconds: float = 0.2
    """How long a read that waits tries to ask the primary for a newer watermark, and how often a process asks for one
    partition."""
    read_max_waiting: int = setting(
        256, "Maximum number of reads of a process that wait for a copy to catch up; beyond it 503."
    )
    scatter_seconds: float = setting(5.0, "Deadline shared by all shard queries of one scatter.")
    scatter_max_threads: int = setting(16, "Maximum number of shard queries of scatters that a process runs at once.")
    scatter_max_waiting: int = setting(
        64,
        "Maximum number of shard queries of scatters queued for a thread; beyond it a scatter names those shards as"
        " missing.",
    )

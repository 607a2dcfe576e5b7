"""Clusters for tests: `run_temporary_cluster` with time limits of this machine, counted in the summary of the run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from devtools.localcluster import ClusterSpec, LocalCluster, run_temporary_cluster
from tests.pace import limit
from tests.summary import meter

SELDOM = {
    f"VIEWCOUNTER_{name}_SECONDS": seconds
    for name, seconds in {
        "RECOUNT_INTERVAL": "30",
        "SKETCH_INTERVAL": "30",
        "LOG_LAG_INTERVAL": "30",
        "DEAD_LETTERS_INTERVAL": "60",
        "BEAT_CLUSTER_INTERVAL": "60",
        "SHARDPROXY_INTERVAL": "2",
        "SHARDPROXY_METRICS": "30",
        "CLUSTER_TOPOLOGY_POLL": "2",
    }.items()
}
"""Longer intervals of periodic work that no test waits for: an idle cluster then costs a quarter of the CPU time."""

_living: list[LocalCluster] = []


def start_prepared_servers(cluster: LocalCluster) -> None:
    """Start servers with tables and a topology, without applications."""
    cluster.start_servers()
    cluster.prepare()


@contextmanager
def run_cluster(
    *,
    spec: ClusterSpec | None = None,
    settings: Mapping[str, str] | None = None,
    start: Callable[[LocalCluster], None] = LocalCluster.start,
) -> Iterator[LocalCluster]:
    """Started by `start` when the block begins; nothing of it is left afterwards."""
    with ExitStack() as stack:
        with meter.charging_clusters():
            cluster = stack.enter_context(run_temporary_cluster(spec=scale_limits(spec), settings=settings))
            start(cluster)
        _living.append(cluster)
        try:
            yield cluster
        finally:
            _living.remove(cluster)
            with meter.charging_clusters():
                stack.close()


def scale_limits(spec: ClusterSpec | None) -> ClusterSpec:
    spec = spec or ClusterSpec()
    return replace(
        spec,
        server_ready_seconds=limit(spec.server_ready_seconds),
        application_ready_seconds=limit(spec.application_ready_seconds),
        prepare_seconds=limit(spec.prepare_seconds),
        command_seconds=limit(spec.command_seconds),
    )


def list_state_folders() -> set[str]:
    """State folders of the clusters that fixtures keep now."""
    return {str(cluster.state.root) for cluster in _living}

"""CPU time by component: of whole process trees, so that every backend counts."""

from collections.abc import Mapping

import psutil

from devtools.bench.errors import BenchStepFailed
from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer, find_primary
from devtools.localcluster.spec import BROKER_SERVER, LOG_SERVER

MILLION = 1_000_000


def list_primaries(cluster: LocalCluster) -> list[PostgresServer]:
    """The primary of each shard by its data, since a busy machine may have had a failover. Raises NotReady."""
    found = [find_primary(instances) for instances in cluster.layout.shards.values()]
    primaries = [primary for primary in found if primary is not None]
    if len(primaries) < len(found):
        raise NotReady("a shard has no primary")
    return primaries


def list_servers(cluster: LocalCluster) -> dict[str, list[int]]:
    """Process ids of the servers by component. Raises NotReady."""
    primaries = list_primaries(cluster)
    instances = [server for servers in cluster.layout.shards.values() for server in servers]
    return {
        "primaries": [primary.pid for primary in primaries],
        "replicas": [server.pid for server in instances if server not in primaries],
        "log": [cluster.valkey(LOG_SERVER).pid],
        "broker and cache": [cluster.valkey(BROKER_SERVER).pid],
    }


def read_cpu_seconds(roots: Mapping[str, list[int]]) -> dict[str, float]:
    """User and system time of the process trees of each component, including reaped children. Raises BenchStepFailed if
    one of the named processes has ended."""
    return {component: sum(_read_tree(pid) for pid in pids) for component, pids in roots.items()}


def divide_by_million(cpu_seconds: Mapping[str, float], event_count: int) -> dict[str, float]:
    """Seconds a million events, by component."""
    return {name: round(seconds * MILLION / event_count, 3) for name, seconds in cpu_seconds.items()}


def _read_tree(pid: int) -> float:
    total = 0.0
    for process in _list_tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _list_tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess as error:
        raise BenchStepFailed(f"process {pid} ended while it was measured") from error

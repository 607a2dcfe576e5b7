"""CPU time by component, seen from outside: whole process trees, so that every backend counts."""

from collections.abc import Mapping

import psutil

from localcluster import LocalCluster
from localcluster.spec import BROKER_SERVER, LOG_SERVER

MILLION = 1_000_000


def list_servers(cluster: LocalCluster) -> dict[str, list[int]]:
    """Process ids of the servers by component; the first instance of a shard is its primary in a benchmark."""
    databases = list(cluster.layout.shards.values())
    return {
        "primaries": [instances[0].pid for instances in databases],
        "replicas": [replica.pid for instances in databases for replica in instances[1:]],
        "log": [cluster.valkey(LOG_SERVER).pid],
        "broker and cache": [cluster.valkey(BROKER_SERVER).pid],
    }


def read_cpu_seconds(roots: Mapping[str, list[int]]) -> dict[str, float]:
    """User and system time of the trees below the process ids of each component; processes that have ended and been
    reaped count with their parents."""
    return {component: sum(_read_tree(pid) for pid in pids) for component, pids in roots.items()}


def divide_by_million(cpu_seconds: Mapping[str, float], event_count: int) -> dict[str, float]:
    """Seconds a million events, by component."""
    return {name: round(seconds * MILLION / event_count, 3) for name, seconds in cpu_seconds.items()}


def _read_tree(pid: int) -> float:
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total

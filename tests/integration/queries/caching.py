"""Read caches on real servers, and a count of what reaches the shards."""

from typing import Any

from clusterproxy.proxy import ClusterProxy
from devtools.localcluster import LocalCluster
from devtools.localcluster.waiting import Waiter
from tests.settings import configure
from viewcounter.cache.process import build_read_cache
from viewcounter.cache.read_cache import ReadCache
from viewcounter.cache.shared import KEY_PREFIX

CACHE_DATABASE = 1


def forget_shared(servers: LocalCluster) -> None:
    with servers.valkey("broker").connect(database=CACHE_DATABASE) as client:
        for key in client.scan_iter(f"*:{KEY_PREFIX}*", count=1000):
            client.delete(key)


def await_shared(servers: LocalCluster, count: int) -> None:
    """Until so many answers are shared: they are written behind."""

    def lack() -> str | None:
        with servers.valkey("broker").connect(database=CACHE_DATABASE) as client:
            found = sum(1 for _ in client.scan_iter(f"*:{KEY_PREFIX}*", count=1000))
        return None if found >= count else f"{found} of {count}"

    Waiter().wait_until(lack, within_seconds=10.0, what="shared answers")


def make_cache(**settings: Any) -> ReadCache:
    """As a process has it, with settings of its own."""
    return build_read_cache(configure(**settings))


class CountingCluster:
    """Passes everything on and counts what was asked, by the name of the query."""

    def __init__(self, cluster: ClusterProxy) -> None:
        self._cluster = cluster
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def read(self, partition: int, query: Any, *args: Any, **options: Any) -> Any:
        self.asked.append(query.name)
        return self._cluster.read(partition, query, *args, **options)

    def scatter(self, query: Any, *args: Any, **options: Any) -> Any:
        self.asked.append(query.name)
        return self._cluster.scatter(query, *args, **options)

    def take(self) -> list[str]:
        """What was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked

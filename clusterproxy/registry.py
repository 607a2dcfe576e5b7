"""One `InstanceProxy` for each instance of the topology: created on first use, drained when the topology drops it."""

import logging
import threading

from configservice.topology.model import Instance, Topology
from shardproxy.conninfo import is_same_server
from shardproxy.instance import InstanceProxy
from shardproxy.settings import PoolSettings

logger = logging.getLogger(__name__)


class InstanceRegistry:
    """Invariant: at most one open proxy an instance name, so the connection bound holds for each server."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._proxies: dict[str, InstanceProxy] = {}
        self._primaries: set[str] = set()
        self._lock = threading.Lock()  # writers only; readers see a dict whose entries are replaced whole

    def get(self, instance: Instance) -> InstanceProxy:
        """The proxy to this server, created if there is none."""
        proxy = self._proxies.get(instance.name)
        # The same object unless the topology has changed: addresses need not be compared for every query.
        if proxy is not None and (proxy.instance is instance or is_same_server(proxy.instance, instance)):
            return proxy
        with self._lock:
            return self._replace(instance)

    def find(self, name: str) -> InstanceProxy | None:
        return self._proxies.get(name)

    def apply(self, topology: Topology) -> None:
        """Drains proxies of instances that are gone or have a new address; cuts transactions on replaced primaries."""
        wanted = {i.name: i for shard in topology.shards for i in shard.instances}
        primaries = {shard.primary.name for shard in topology.shards if shard.primary is not None}
        with self._lock:
            replaced, self._primaries = self._primaries - primaries, primaries
            for name in replaced & self._proxies.keys():
                if cut_count := self._proxies[name].cut_transactions():
                    logger.warning("%s is no longer primary: cut %d transactions on it", name, cut_count)
            for name, proxy in list(self._proxies.items()):
                if name not in wanted or not is_same_server(proxy.instance, wanted[name]):
                    self._proxies.pop(name).close()

    def close(self) -> None:
        with self._lock:
            for proxy in self._proxies.values():
                proxy.close()
            self._proxies.clear()

    def _replace(self, instance: Instance) -> InstanceProxy:
        proxy = self._proxies.get(instance.name)
        if proxy is not None:
            if is_same_server(proxy.instance, instance):
                return proxy
            proxy.close()
        proxy = InstanceProxy(instance, self._settings)
        self._proxies[instance.name] = proxy
        return proxy

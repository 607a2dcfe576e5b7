"""Probes every instance about once a second, so that reads skip those that are dead, frozen or far behind.

One thread starts the probes, a few others wait for their results. A frozen instance holds one of these threads for the
bound of a probe, and is not probed again meanwhile.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from clusterproxy.balancing import IDLE, NEED_LOADS, InstanceLoad
from clusterproxy.plan import UNMEASURED, InstanceHealth
from clusterproxy.registry import InstanceRegistry
from clusterproxy.settings import ClusterSettings
from configservice.topology.model import Instance, Topology
from runtime.periodic import PeriodicTask
from shardproxy.errors import ShardProxyError
from shardproxy.instance import InstanceProxy
from shardproxy.query import QueryClass

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0
MEASUREMENT_OLD_AFTER_INTERVALS = 5
"""An older measurement is ignored: probes may have stopped."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A measurement of the server that `proxy` reaches. An instance at a new address is unmeasured."""

    proxy: InstanceProxy
    measured_at: float
    reachable: bool
    lag_seconds: float | None


class HealthBoard:
    """Thread-safe. `find_topology` gives the snapshot whose instances are watched, None while there is none."""

    def __init__(
        self,
        registry: InstanceRegistry,
        settings: ClusterSettings,
        *,
        find_topology: Callable[[], Topology | None],
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._find_topology = find_topology
        self._needs_loads = settings.read_balancer in NEED_LOADS
        self._old_after_seconds = MEASUREMENT_OLD_AFTER_INTERVALS * settings.health_interval_seconds
        self._entries: dict[str, _Entry] = {}
        self._probing: dict[str, tuple[InstanceProxy, Future[None]]] = {}  # touched by the loop only
        self._executor = ThreadPoolExecutor(settings.health_max_threads, thread_name_prefix="instance-probe")
        self._task = PeriodicTask(
            "instance-health", self._start_probes, interval_seconds=settings.health_interval_seconds, on_end=self._end
        )

    def start(self) -> None:
        """May be called before every read: starts the loop the first time only."""
        self._task.start()

    def get_health(self, instance: Instance, query_class: QueryClass, *, now: float) -> InstanceHealth:
        """The last measurement of an instance, at `now` (monotonic clock).

        With its load, and its response time for `query_class`, if the balancer needs them.
        """
        proxy = self._registry.find(instance.name)
        if proxy is None:
            return UNMEASURED
        accepting = proxy.accepts(now=now)
        load = IDLE
        if self._needs_loads:
            load = InstanceLoad(proxy.in_flight, proxy.estimate_seconds(query_class, now=now))
        entry = self._entries.get(instance.name)
        if entry is None or entry.proxy is not proxy or now - entry.measured_at > self._old_after_seconds:
            return InstanceHealth(accepting=accepting, load=load)
        return InstanceHealth(entry.reachable, entry.lag_seconds, accepting=accepting, load=load)

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def _end(self) -> None:
        self._executor.shutdown()
        for proxy, _ in self._probing.values():
            proxy.close_probe()

    def _start_probes(self) -> None:
        topology = self._find_topology()
        if topology is None:
            return
        watched = {i.name: self._registry.get(i) for shard in topology.shards for i in shard.instances}
        self._drop_unwatched(watched)
        for name, proxy in watched.items():
            last = self._probing.get(name)
            if last is None or last[1].done():
                if last is not None and (error := last[1].exception()) is not None:
                    logger.error("the probe of %s raised an unexpected error", name, exc_info=error)
                self._probing[name] = (proxy, self._executor.submit(self._probe, proxy))

    def _drop_unwatched(self, watched: dict[str, InstanceProxy]) -> None:
        for name, (proxy, future) in list(self._probing.items()):
            if watched.get(name) is not proxy and future.done():
                proxy.close_probe()
                del self._probing[name]
                self._entries.pop(name, None)

    def _probe(self, proxy: InstanceProxy) -> None:
        name = proxy.instance.name
        before = self._entries.get(name)
        try:
            measured = proxy.measure(timeout_seconds=self._settings.health_probe_seconds)
        except ShardProxyError as error:
            if before is None or before.reachable:
                logger.warning("instance unhealthy: %s", error)
            self._entries[name] = _Entry(proxy, time.monotonic(), reachable=False, lag_seconds=None)
        else:
            if before is not None and not before.reachable:
                logger.info("instance healthy again: %s", name)
            self._entries[name] = _Entry(proxy, time.monotonic(), reachable=True, lag_seconds=measured.lag_seconds)

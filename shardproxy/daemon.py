"""Keeps one watch for each instance that the topology and the operator's choice name."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from configservice.topology.model import Instance, Topology
from shardproxy.conninfo import is_same_server
from shardproxy.watch import InstanceWatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a daemon watches: one instance, the instances of one shard, or all (both None)."""

    shard: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """An instance and the name of the shard it is of."""

    shard: str
    instance: Instance


def plan_watches(topology: Topology, selection: Selection) -> dict[str, Target]:
    """By the instance's name. Empty when the topology does not know what was chosen."""
    return {
        instance.name: Target(shard.name, instance)
        for shard in topology.shards
        if selection.shard in (None, shard.name)
        for instance in shard.instances
        if selection.instance in (None, instance.name)
    }


class ShardProxyDaemon:
    """Used by one thread, which calls `follow` again and again, and at the end `close`.

    Invariant: at most one living watch for each instance name.
    """

    def __init__(self, *, selection: Selection, build_watch: Callable[[Target], InstanceWatch]) -> None:
        self._selection = selection
        self._build_watch = build_watch
        self._watches: dict[str, InstanceWatch] = {}
        self._lock = threading.Lock()  # `watches` is read by others while the owner follows

    @property
    def watches(self) -> list[InstanceWatch]:
        with self._lock:
            return list(self._watches.values())

    def follow(self, topology: Topology) -> None:
        """Starts watches of instances that are new or stand elsewhere now, and stops those that are gone."""
        wanted = plan_watches(topology, self._selection)
        with self._lock:
            for name, watch in list(self._watches.items()):
                if name not in wanted or not is_same_server(watch.instance, wanted[name].instance):
                    logger.info("%s: no longer watched here", name)
                    self._watches.pop(name).stop()
            missing = {name: target for name, target in wanted.items() if name not in self._watches}
            for name, target in missing.items():
                watch = self._watches[name] = self._build_watch(target)
                watch.start()

    def close(self, *, deadline_at: float) -> None:
        """Stops all watches; waits for them until then (monotonic clock) and no longer."""
        watches = self.watches
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.join(timeout_seconds=max(0.0, deadline_at - time.monotonic()))

"""Runs one `InstanceWatch` for each instance that is in the topology and in the operator's selection."""

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
    """The instances that a daemon watches: one instance, all of one shard, or all (both None)."""

    shard: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """An instance and the name of its shard."""

    shard: str
    instance: Instance


def plan_watches(topology: Topology, selection: Selection) -> dict[str, Target]:
    """Targets by instance name. Empty when the topology has no instance of the selection."""
    return {
        instance.name: Target(shard.name, instance)
        for shard in topology.shards
        if selection.shard in (None, shard.name)
        for instance in shard.instances
        if selection.instance in (None, instance.name)
    }


class ShardProxyDaemon:
    """Used by one thread, which calls `follow` for each new topology, and `close` at the end.

    Invariant: at most one running watch for each instance name.
    """

    def __init__(self, *, selection: Selection, build_watch: Callable[[Target], InstanceWatch]) -> None:
        self._selection = selection
        self._build_watch = build_watch
        self._watches: dict[str, InstanceWatch] = {}
        self._lock = threading.Lock()  # other threads read `watches` while the owner changes it

    @property
    def watches(self) -> list[InstanceWatch]:
        with self._lock:
            return list(self._watches.values())

    def follow(self, topology: Topology) -> None:
        """Starts watches of instances that are new or have another address, and stops those of removed instances."""
        wanted = plan_watches(topology, self._selection)
        with self._lock:
            for name, watch in list(self._watches.items()):
                if name not in wanted or not is_same_server(watch.instance, wanted[name].instance):
                    logger.info("%s: the watch of this instance ends", name)
                    self._watches.pop(name).stop()
            missing = {name: target for name, target in wanted.items() if name not in self._watches}
            for name, target in missing.items():
                watch = self._watches[name] = self._build_watch(target)
                watch.start()

    def close(self, *, deadline_at: float) -> None:
        """Stops all watches and waits for them until `deadline_at` (monotonic clock)."""
        watches = self.watches
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.join(timeout_seconds=max(0.0, deadline_at - time.monotonic()))

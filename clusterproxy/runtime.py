"""Everything of a cluster proxy that belongs to one process: threads, pools and locks. A fork gets a new one."""

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clusterproxy.errors import NoTopology
from clusterproxy.health import HealthBoard
from clusterproxy.plan import ReadPolicy
from clusterproxy.progress_watch import ProgressWatch
from clusterproxy.registry import InstanceRegistry
from clusterproxy.settings import ClusterSettings
from clusterproxy.source import PublicationFeed, TopologySource
from clusterproxy.store import TopologyStore
from clusterproxy.trust import OnRefused
from configservice.topology.model import Topology, TopologyVersion
from shardproxy.settings import PoolSettings

OnFailedAttempt = Callable[[str, str], None]
"""Gets the instance and the outcome (`clusterproxy.results`). Called in the reading thread: must return at once."""


class Runtime:
    """Made by the first use in a process, closed by `ClusterProxy.close`."""

    def __init__(
        self,
        sources: Sequence[TopologySource],
        settings: ClusterSettings,
        *,
        pool: PoolSettings,
        state_dir: Path,
        open_feed: Callable[[], PublicationFeed] | None = None,
        on_failed_attempt: OnFailedAttempt | None = None,
        on_refused: OnRefused | None = None,
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.on_failed_attempt = on_failed_attempt
        self.policy = ReadPolicy(
            zone=settings.zone,
            replica_max_lag_seconds=settings.replica_max_lag_seconds,
            balancer=settings.read_balancer,
        )
        self.registry = InstanceRegistry(pool)
        feed = None if open_feed is None else open_feed()
        self.store = TopologyStore(
            sources,
            settings,
            state_dir=state_dir,
            on_change=self.registry.apply,
            on_refused=on_refused,
            feed=feed,
        )
        self.health = HealthBoard(self.registry, settings, find_topology=self._find_topology)
        self.turns = itertools.count()
        self.executor = ThreadPoolExecutor(settings.scatter_max_threads, thread_name_prefix="scatter")
        # The executor's own queue has no bound; this is it.
        self.scatter_slots = threading.BoundedSemaphore(settings.scatter_max_threads + settings.scatter_max_waiting)
        self.waiting_slots = threading.BoundedSemaphore(settings.read_max_waiting)
        # Half of the threads: scatters that wait for nothing go on beside those that do.
        self.scatter_waiting_slots = threading.BoundedSemaphore(max(1, settings.scatter_max_threads // 2))
        self._watches: dict[str, ProgressWatch] = {}
        # When a read last asked for a newer watermark, by partition. Without a lock: asking twice does no harm.
        self._requested_at: dict[int, float] = {}

    def get_watch(self, instance: str) -> ProgressWatch:
        """The one of that instance. There are as many as this process has known instances."""
        watch = self._watches.get(instance)
        if watch is None:
            watch = self._watches.setdefault(
                instance, ProgressWatch(instance, poll_seconds=self.settings.read_poll_seconds)
            )
        return watch

    def find_unrequested(self, partitions: Sequence[int]) -> list[int]:
        """Those for which no read of this process has just asked for a newer watermark; the caller asks for them."""
        now = time.monotonic()
        found = [
            p for p in partitions if now - self._requested_at.get(p, -math.inf) >= self.settings.read_request_seconds
        ]
        self._requested_at |= dict.fromkeys(found, now)
        return found

    def count_waiting_reads(self) -> int:
        """Reads that wait until an instance is fresh enough."""
        return sum(watch.reader_count for watch in list(self._watches.values()))

    def refresh_topology(self, *, known: TopologyVersion, deadline_at: float) -> bool:
        """True if there is newer topology than `known`. Waits no longer than the caller's deadline."""
        remaining_seconds = max(0.0, deadline_at - time.monotonic())
        return self.store.refresh(
            known=known,
            timeout_seconds=min(remaining_seconds, self.settings.topology_refresh_wait_seconds),
        )

    def find_newer_topology(self, known: Topology, *, deadline_at: float) -> Topology | None:
        """For a second attempt of a call that failed; on the same topology it would fail the same."""
        if not self.refresh_topology(known=known.version, deadline_at=deadline_at):
            return None
        return self.store.get_current()

    def close(self) -> None:
        self.store.close()
        self.health.close()
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.registry.close()

    def _find_topology(self) -> Topology | None:
        try:
            return self.store.get_current()
        except NoTopology:
            return None

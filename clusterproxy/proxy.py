"""The one object through which a process reaches the shards: it routes, fails over and scatters, in bounded time."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusterproxy.broadcast import Rows, query_all_instances, query_promotable_instances
from clusterproxy.errors import ShardUnavailable
from clusterproxy.freshness import FreshnessRequirement
from clusterproxy.plan import Consistency
from clusterproxy.read import read_shard
from clusterproxy.results import ReadResult, ScatterResult
from clusterproxy.runtime import OnFailedAttempt, Runtime
from clusterproxy.scatter import run_scatter
from clusterproxy.settings import ClusterSettings
from clusterproxy.shard_read import ReadRequest
from clusterproxy.source import PublicationFeed, TopologySource
from clusterproxy.trust import OnRefused
from clusterproxy.write import open_transaction
from configservice.topology.model import Topology
from shardproxy.errors import ShardProxyError
from shardproxy.instance import RowConnection
from shardproxy.query import Query, QueryClass
from shardproxy.settings import PoolSettings

ATTEMPTS_IN_DEFAULT_DEADLINE = 2
"""A read's own deadline leaves time for one frozen candidate and one full answer after it."""


class ClusterProxy:
    """Thread-safe; one a process. Threads and pools start with the first use, and anew in a forked child.

    Deadlines default to what the query's class needs; `deadline_seconds` counts from the call. `open_feed`,
    called once a process, gives the feed that announces new epochs; without it the sources are only polled.
    `state_dir` keeps the disk copy of the topology.
    `on_failed_attempt` is called for each instance that failed a read, also when another then answered;
    `on_refused` for each topology that is refused.
    """

    def __init__(
        self,
        *,
        topology_sources: Sequence[TopologySource],
        settings: ClusterSettings,
        pool: PoolSettings,
        state_dir: Path,
        open_feed: Callable[[], PublicationFeed] | None = None,
        on_failed_attempt: OnFailedAttempt | None = None,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._sources = topology_sources
        self._open_feed = open_feed
        self._on_failed_attempt = on_failed_attempt
        self._on_refused = on_refused
        self._settings = settings
        self._pool = pool
        self._state_dir = state_dir
        self._lock = threading.Lock()  # makes the runtime once
        self._runtime: Runtime | None = None
        _living_proxies.add(self)

    @property
    def unheard_seconds(self) -> float:
        """Time since a source of the topology has answered last: a publication of since then is not known here."""
        return self._get_runtime().store.unheard_seconds

    @property
    def topology(self) -> Topology:
        """The current snapshot. Raises NoTopology."""
        return self._get_runtime().store.get_current()

    @property
    def known_cluster_id(self) -> str | None:
        """The id of this process's cluster; None while it is unknown. Never waits."""
        return self._get_runtime().store.trust.known.cluster_id

    @property
    def refused_topologies(self) -> dict[str, str]:
        """The reason by the place that holds the refused topology; empty when there is none."""
        return {place: refusal.reason.value for place, refusal in self._get_runtime().store.trust.refusals.items()}

    def read(
        self,
        partition: int,
        query: Query,
        params: Mapping[str, Any],
        *,
        consistency: Consistency = Consistency.EVENTUAL,
        requirement: FreshnessRequirement | None = None,
        deadline_seconds: float | None = None,
    ) -> ReadResult:
        """Rows of one statement from the shard that owns `partition`. A quorum read needs a `requirement`, which may be
        empty.

        Raises IndexError for an unknown partition, NoTopology, ShardUnavailable, NotFreshEnough, PositionLost,
        TooManyWaiting, or a ShardProxyError.
        """
        runtime = self._get_runtime()
        deadline_at = self._get_read_deadline(query.query_class, deadline_seconds) + self._get_wait_seconds(requirement)
        request = ReadRequest(query, params, (partition,), consistency, deadline_at, requirement)
        topology = runtime.store.get_current()
        try:
            return read_shard(runtime, topology, topology.get_shard_of(partition), request)
        except ShardUnavailable:
            newer = runtime.find_newer_topology(topology, deadline_at=deadline_at)
            if newer is None:
                raise
        return read_shard(runtime, newer, newer.get_shard_of(partition), request)

    def scatter(
        self,
        query: Query,
        params: Mapping[str, Any],
        *,
        partitions: Collection[int] | None = None,
        consistency: Consistency = Consistency.EVENTUAL,
        requirement: FreshnessRequirement | None = None,
        deadline_seconds: float | None = None,
    ) -> ScatterResult:
        """One statement on each shard that owns any of `partitions` (None: all), executed in parallel.

        Each shard gets its own partitions as `%(partitions)s`. Retryable failures are in `missing`. A Permanent one is
        raised, since every shard would fail the same; so is NotFreshEnough: all rows of a result meet `requirement`.
        Raises IndexError for an unknown partition.
        """
        seconds = self._settings.scatter_seconds if deadline_seconds is None else deadline_seconds
        return run_scatter(
            self._get_runtime(),
            query,
            params,
            partitions=partitions,
            consistency=consistency,
            requirement=requirement,
            deadline_at=time.monotonic() + seconds + self._get_wait_seconds(requirement),
        )

    def query_promotable_instances(
        self, shard_id: int, query: Query, params: Mapping[str, Any], *, deadline_seconds: float | None = None
    ) -> dict[str, ReadResult | ShardProxyError]:
        """The same statement on each promotable instance of a shard, in turn; by instance name.

        The instances share the deadline evenly. Raises KeyError for an unknown shard.
        """
        runtime = self._get_runtime()
        deadline_at = self._get_read_deadline(query.query_class, deadline_seconds)
        topology = runtime.store.get_current()
        return query_promotable_instances(
            runtime, topology, topology.get_shard(shard_id), query, params, deadline_at=deadline_at
        )

    def query_all_instances(
        self, query: Query, params: Mapping[str, Any], *, timeout_seconds: float
    ) -> dict[str, Rows | ShardProxyError]:
        """The same statement on every instance of the cluster, in parallel; by instance name. Raises NoTopology."""
        runtime = self._get_runtime()
        return query_all_instances(runtime, runtime.store.get_current(), query, params, timeout_seconds=timeout_seconds)

    @contextmanager
    def transaction(
        self,
        partition: int,
        *,
        query_class: QueryClass = QueryClass.FLUSH,
        deadline_seconds: float | None = None,
    ) -> Iterator[RowConnection]:
        """BEGIN .. COMMIT on the primary of the shard that owns `partition`.

        Raises what `InstanceProxy.transaction` raises, ShardUnavailable when there is no primary, and IndexError.
        The caller repeats a Retryable one; after OutcomeUnknown it first checks whether the transaction committed.
        """
        with open_transaction(
            self._get_runtime(),
            lambda topology: (topology.get_shard_of(partition), (partition,)),
            query_class=query_class,
            deadline_at=self._get_transaction_deadline(query_class, deadline_seconds),
        ) as connection:
            yield connection

    @contextmanager
    def shard_transaction(
        self,
        shard_id: int,
        *,
        query_class: QueryClass = QueryClass.MAINTENANCE,
        deadline_seconds: float | None = None,
    ) -> Iterator[RowConnection]:
        """As `transaction`, for a shard by its id. Raises KeyError for an unknown one."""
        with open_transaction(
            self._get_runtime(),
            lambda topology: (topology.get_shard(shard_id), tuple(topology.get_partitions_of(shard_id))),
            query_class=query_class,
            deadline_at=self._get_transaction_deadline(query_class, deadline_seconds),
        ) as connection:
            yield connection

    def get_replica_lags(self, shard_id: int) -> dict[str, float | None]:
        """Last measured replay lag in seconds of a shard's replicas, by name. None: unknown, the replica may be down.

        Raises KeyError for an unknown shard.
        """
        runtime = self._get_runtime()
        runtime.health.start()
        now = time.monotonic()
        found = {
            replica.name: runtime.health.get_health(replica, QueryClass.MAINTENANCE, now=now)
            for replica in runtime.store.get_current().get_shard(shard_id).replicas
        }
        return {name: health.lag_seconds if health.reachable else None for name, health in found.items()}

    def count_waiting_reads(self) -> int:
        """Reads of this process that wait for a fresh enough instance; `read_max_waiting` bounds them."""
        return self._get_runtime().count_waiting_reads()

    def refresh_topology(self) -> None:
        """Polls the sources now, or in a moment if they were just polled. Raises NoTopology.

        The current topology stays in use when they are down.
        """
        store = self._get_runtime().store
        store.refresh(
            known=store.get_current().version,
            timeout_seconds=self._settings.topology_refresh_wait_seconds,
            is_sure=True,
        )

    def close(self) -> None:
        """Stops threads and drains pools. The next use would start new ones."""
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()

    def _get_runtime(self) -> Runtime:
        runtime = self._runtime
        if runtime is None:
            with self._lock:
                runtime = self._runtime
                if runtime is None:
                    runtime = self._runtime = Runtime(
                        self._sources,
                        self._settings,
                        pool=self._pool,
                        state_dir=self._state_dir,
                        open_feed=self._open_feed,
                        on_failed_attempt=self._on_failed_attempt,
                        on_refused=self._on_refused,
                    )
        return runtime

    def _get_read_deadline(self, query_class: QueryClass, deadline_seconds: float | None) -> float:
        if deadline_seconds is None:
            deadline_seconds = ATTEMPTS_IN_DEFAULT_DEADLINE * self._pool.get_answer_seconds(query_class)
        return time.monotonic() + deadline_seconds

    def _get_wait_seconds(self, requirement: FreshnessRequirement | None) -> float:
        return 0.0 if requirement is None else self._settings.read_wait_seconds

    def _get_transaction_deadline(self, query_class: QueryClass, deadline_seconds: float | None) -> float:
        if deadline_seconds is None:
            deadline_seconds = self._pool.get_answer_seconds(query_class)
        return time.monotonic() + deadline_seconds

    def _forget_parent(self) -> None:
        """In a forked child: the parent's threads do not run here, its sockets and locks must not be touched."""
        self._lock = threading.Lock()
        self._runtime = None


_living_proxies: "weakref.WeakSet[ClusterProxy]" = weakref.WeakSet()


def _forget_parents() -> None:
    for proxy in list(_living_proxies):
        proxy._forget_parent()


os.register_at_fork(after_in_child=_forget_parents)

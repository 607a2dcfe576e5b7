"""One statement on many shards in parallel: bounded threads, one deadline, and every shard accounted for."""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from clusterproxy.errors import ClusterProxyError, NotFreshEnough, ShardUnavailable
from clusterproxy.freshness import FreshnessRequirement
from clusterproxy.plan import Consistency, plan_scatter
from clusterproxy.read import read_shard
from clusterproxy.results import ReadResult, ScatterResult
from clusterproxy.runtime import Runtime
from clusterproxy.shard_read import ReadRequest
from configservice.topology.model import Topology
from runtime.errors import Retryable
from shardproxy.errors import ShardProxyError
from shardproxy.query import Query


def run_scatter(
    runtime: Runtime,
    query: Query,
    params: Mapping[str, Any],
    *,
    partitions: Collection[int] | None,
    consistency: Consistency,
    requirement: FreshnessRequirement | None,
    deadline_at: float,
) -> ScatterResult:
    """See `ClusterProxy.scatter`."""
    topology = runtime.store.get_current()
    owned = plan_scatter(topology, partitions)
    scatter = _Scatter(runtime, topology, owned, query, params, consistency, requirement, deadline_at)
    futures = {shard_id: _submit(runtime, scatter.read, shard_id) for shard_id in owned}
    # Each shard's own deadline ends its wait; the grace lets that answer arrive before this one gives up.
    remaining_seconds = max(0.0, deadline_at - time.monotonic())
    grace_seconds = runtime.pool.answer_grace_seconds
    wait([f for f in futures.values() if f is not None], timeout=remaining_seconds + grace_seconds)
    return _gather(topology, owned, futures)


@dataclass(frozen=True, slots=True)
class _Scatter:
    """One statement for every shard. `owned` (partitions by shard) and the results are those of `topology`."""

    runtime: Runtime
    topology: Topology
    owned: Mapping[int, list[int]]
    query: Query
    params: Mapping[str, Any]
    consistency: Consistency
    requirement: FreshnessRequirement | None
    deadline_at: float

    def read(self, shard_id: int) -> ReadResult:
        """One shard's part. No second attempt if partitions have moved: two shards might return rows of one."""
        current = self.runtime.store.get_current()
        try:
            return self._read(current, shard_id)
        except ShardUnavailable:
            newer = self.runtime.find_newer_topology(current, deadline_at=self.deadline_at)
            if newer is None:
                raise
        return self._read(newer, shard_id)

    def _read(self, current: Topology, shard_id: int) -> ReadResult:
        own = self.owned[shard_id]
        if current.assignments != self.topology.assignments:
            raise _build_unavailable(self.topology, shard_id, own, reason="partitions moved during the read")
        request = ReadRequest(
            self.query,
            {**self.params, "partitions": own},
            tuple(own),
            self.consistency,
            self.deadline_at,
            self.requirement,
            scattered=True,
        )
        return read_shard(self.runtime, current, current.get_shard(shard_id), request)


def _submit(runtime: Runtime, read: Callable[[int], ReadResult], shard_id: int) -> Future[ReadResult] | None:
    """None when the queue is full. The slot is free again when the future is done, however it ends."""
    if not runtime.scatter_slots.acquire(blocking=False):
        return None
    future = runtime.executor.submit(read, shard_id)
    future.add_done_callback(lambda _: runtime.scatter_slots.release())
    return future


def _gather(
    topology: Topology, owned: Mapping[int, list[int]], futures: Mapping[int, Future[ReadResult] | None]
) -> ScatterResult:
    """Raises a Permanent error of any shard, and NotFreshEnough."""
    results: dict[int, ReadResult] = {}
    missing: dict[int, Exception] = {}
    for shard_id, future in futures.items():
        if future is None:
            missing[shard_id] = _build_unavailable(
                topology, shard_id, owned[shard_id], reason="too many scatters at once"
            )
        elif not future.done():
            future.cancel()
            missing[shard_id] = _build_unavailable(
                topology, shard_id, owned[shard_id], reason="no answer before the deadline"
            )
        elif (error := future.exception()) is None:
            results[shard_id] = future.result()
        elif isinstance(error, ClusterProxyError | ShardProxyError) and _is_partial(error):
            missing[shard_id] = error
        else:
            raise error
    return ScatterResult(results=results, missing=missing)


def _is_partial(error: ClusterProxyError | ShardProxyError) -> bool:
    """Whether the rows of the other shards are a result without this one's."""
    return isinstance(error, Retryable) and not isinstance(error, NotFreshEnough)


def _build_unavailable(topology: Topology, shard_id: int, partitions: list[int], *, reason: str) -> ShardUnavailable:
    return ShardUnavailable(
        shard=topology.get_shard(shard_id).name, partitions=tuple(partitions), reason=reason, failures={}
    )

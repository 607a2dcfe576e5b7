"""Asks many shards at the same time: bounded threads, one deadline, and every shard accounted for."""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from clusterproxy.errors import ClusterProxyError, NotFarEnough, ShardUnavailable
from clusterproxy.fresh_reads import read_shard
from clusterproxy.freshness import FreshnessRequirement
from clusterproxy.plan import Consistency, plan_scatter
from clusterproxy.read import ReadRequest
from clusterproxy.results import ReadResult, ScatterResult
from clusterproxy.runtime import Runtime
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
    demand: FreshnessRequirement | None,
    deadline_at: float,
) -> ScatterResult:
    """See `ClusterProxy.scatter`."""
    topology = runtime.store.get_current()
    owned = plan_scatter(topology, partitions)
    question = _Question(runtime, topology, owned, query, params, consistency, demand, deadline_at)
    futures = {shard_id: _submit(runtime, question.ask, shard_id) for shard_id in owned}
    # Each shard's own deadline ends its wait; the grace lets that answer arrive before this one gives up.
    remaining_seconds = max(0.0, deadline_at - time.monotonic())
    grace_seconds = runtime.settings.pool.answer_grace_seconds
    wait([f for f in futures.values() if f is not None], timeout=remaining_seconds + grace_seconds)
    return _gather(topology, owned, futures)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of every shard. `owned` is by `topology`, and so is the answer."""

    runtime: Runtime
    topology: Topology
    owned: Mapping[int, list[int]]
    query: Query
    params: Mapping[str, Any]
    consistency: Consistency
    demand: FreshnessRequirement | None
    deadline_at: float

    def ask(self, shard_id: int) -> ReadResult:
        """One shard's part. Not repeated on topology that moved partitions: two shards might answer for one."""
        own = self.owned[shard_id]

        def attempt(current: Topology) -> ReadResult:
            if current.assignments != self.topology.assignments:
                raise _name_missing(self.topology, shard_id, own, reason="partitions moved while it was asked")
            request = ReadRequest(
                self.query,
                {**self.params, "partitions": own},
                tuple(own),
                self.consistency,
                self.deadline_at,
                self.demand,
                scattered=True,
            )
            return read_shard(self.runtime, current, current.get_shard(shard_id), request)

        return self.runtime.try_twice(attempt, deadline_at=self.deadline_at)


def _submit(runtime: Runtime, ask: Callable[[int], ReadResult], shard_id: int) -> Future[ReadResult] | None:
    """None when the queue is full. The slot is free again when the future is done, however it ends."""
    if not runtime.scatter_slots.acquire(blocking=False):
        return None
    future = runtime.executor.submit(ask, shard_id)
    future.add_done_callback(lambda _: runtime.scatter_slots.release())
    return future


def _gather(
    topology: Topology, owned: Mapping[int, list[int]], futures: Mapping[int, Future[ReadResult] | None]
) -> ScatterResult:
    """Raises a Permanent error of any shard, and a demand that one of them does not meet."""
    results: dict[int, ReadResult] = {}
    missing: dict[int, Exception] = {}
    for shard_id, future in futures.items():
        if future is None:
            missing[shard_id] = _name_missing(topology, shard_id, owned[shard_id], reason="too many scatters at once")
        elif not future.done():
            future.cancel()
            missing[shard_id] = _name_missing(topology, shard_id, owned[shard_id], reason="no answer in time")
        elif (error := future.exception()) is None:
            results[shard_id] = future.result()
        elif isinstance(error, ClusterProxyError | ShardProxyError) and _leaves_out(error):
            missing[shard_id] = error
        else:
            raise error
    return ScatterResult(results=results, missing=missing)


def _leaves_out(error: ClusterProxyError | ShardProxyError) -> bool:
    """Whether the others' answers stand without this shard's."""
    return isinstance(error, Retryable) and not isinstance(error, NotFarEnough)


def _name_missing(topology: Topology, shard_id: int, partitions: list[int], *, reason: str) -> ShardUnavailable:
    return ShardUnavailable(
        shard=topology.get_shard(shard_id).name, partitions=tuple(partitions), reason=reason, failures={}
    )

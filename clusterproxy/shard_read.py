"""One read of one shard under way: its plan, the attempts on instances, and what comes of them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clusterproxy.errors import PrimaryUnavailable, ShardUnavailable
from clusterproxy.freshness import FreshnessRequirement, Progress
from clusterproxy.plan import (
    UNMEASURED,
    Candidate,
    Consistency,
    ReadPlan,
    may_overflow,
    plan_attempt,
    plan_read,
)
from clusterproxy.results import ANSWERED, BEHIND, QueryAttempt, ReadResult, Route
from clusterproxy.runtime import Runtime
from configservice.topology.model import Instance, Shard, Topology
from shardproxy.errors import (
    Conflict,
    DeadlineExceeded,
    InstanceUnavailable,
    OutOfResources,
    PoolExhausted,
    ReadOnlyInstance,
    ShardProxyError,
)
from shardproxy.query import Query

_OUTCOMES = {
    InstanceUnavailable: "unavailable",
    DeadlineExceeded: "deadline_exceeded",
    PoolExhausted: "overloaded",
    OutOfResources: "out_of_resources",
    Conflict: "conflict",
    ReadOnlyInstance: "not_primary",
}
"""After these errors another instance may well answer. Not so for a wrong statement, or one too slow for its budget."""
RETRY_ELSEWHERE = tuple(_OUTCOMES)

_COMMON_REASONS = (DeadlineExceeded, PoolExhausted, OutOfResources, Conflict)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One statement for `partitions` of one shard, and how fresh its rows must be.

    `scattered`: the read runs in one of the few threads that all scatters share.
    """

    query: Query
    params: Mapping[str, Any]
    partitions: tuple[int, ...]
    consistency: Consistency
    deadline_at: float
    requirement: FreshnessRequirement | None = None
    scattered: bool = False


class ShardRead:
    """Owned by one thread. `attempts` in their order, `failures` by instance name."""

    def __init__(self, runtime: Runtime, topology: Topology, shard: Shard, request: ReadRequest) -> None:
        if request.consistency is not Consistency.STRONG:  # only the primary answers those, whatever its health
            runtime.health.start()
        self.runtime = runtime
        self.request = request
        self.started_at = time.monotonic()
        self.waited_seconds = 0.0
        self.attempts: list[QueryAttempt] = []
        self.failures: dict[str, ShardProxyError] = {}
        self._health = {
            i.name: runtime.health.get_health(i, request.query.query_class, now=self.started_at) for i in shard.copies
        }
        self.plan = self._make_plan(topology, shard)

    def query(
        self, instance: Instance, query: Query, params: Mapping[str, Any], *, is_last: bool
    ) -> list[dict[str, Any]] | None:
        """Rows of one statement. None when this instance failed: the reason is in `failures`."""
        now = time.monotonic()
        attempt_seconds = plan_attempt(
            remaining_seconds=self.request.deadline_at - now,
            answer_seconds=self.runtime.pool.get_answer_seconds(query.query_class),
            is_last=is_last,
        )
        try:
            rows = self.runtime.registry.get(instance).read(
                query,
                params,
                deadline_at=now + attempt_seconds,
                primary_only=self.request.consistency is Consistency.STRONG,
            )
        except RETRY_ELSEWHERE as error:
            self.record_failure(instance, error, started_at=now)
            return None
        self.attempts.append(QueryAttempt(instance.name, ANSWERED, time.monotonic() - now))
        return rows

    def record_failure(self, instance: Instance, error: ShardProxyError, *, started_at: float) -> None:
        self.failures[instance.name] = error
        self._record_failed(QueryAttempt(instance.name, _OUTCOMES[type(error)], time.monotonic() - started_at))

    def record_behind(self) -> None:
        """The rows of the last attempt do not meet the requirement."""
        self._record_failed(replace(self.attempts.pop(), outcome=BEHIND))

    def finish(
        self, candidate: Candidate, rows: list[dict[str, Any]], progress: Mapping[int, Progress] | None = None
    ) -> ReadResult:
        plan, (instance, reason) = self.plan, candidate
        # By position: this is built for every read.
        route = Route(
            plan.epoch,
            plan.shard.name,
            self.request.partitions,
            self.request.consistency,
            instance,
            reason,
            self._health.get(instance.name, UNMEASURED).lag_seconds,
            time.monotonic() - self.started_at,
            self.waited_seconds,
            tuple(self.attempts),
            progress or {},
        )
        return ReadResult(rows, plan.shard.id, instance.name, plan.epoch, route)

    def summarize(self) -> ShardUnavailable | ShardProxyError:
        """The error when no instance answered: one reason if all failed alike (busy, slow), else each one's own."""
        kinds = {type(error) for error in self.failures.values()}
        if len(kinds) == 1:
            last = list(self.failures.values())[-1]
            if isinstance(last, _COMMON_REASONS):
                return last
        reason = "; ".join(map(str, self.failures.values())) or "no instance could be tried before the deadline"
        kind = PrimaryUnavailable if self.request.consistency is Consistency.STRONG else ShardUnavailable
        return kind(
            shard=self.plan.shard.name, partitions=self.request.partitions, reason=reason, failures=self.failures
        )

    def is_shed_for(self, instance: Instance) -> bool:
        """Whether this read must not go to `instance` because others have shed it for their load."""
        overflowed = any(isinstance(error, PoolExhausted) for error in self.failures.values())
        return overflowed and not may_overflow(self.request.query.query_class, instance)

    def _record_failed(self, attempt: QueryAttempt) -> None:
        self.attempts.append(attempt)
        if self.runtime.on_failed_attempt is not None:
            self.runtime.on_failed_attempt(attempt.instance, attempt.outcome)

    def _make_plan(self, topology: Topology, shard: Shard) -> ReadPlan:
        policy, requirement = self.runtime.policy, self.request.requirement
        if requirement is not None and requirement.max_staleness_seconds is not None:
            max_lag_seconds = min(policy.replica_max_lag_seconds, requirement.max_staleness_seconds)
            policy = replace(policy, replica_max_lag_seconds=max_lag_seconds)
        return plan_read(
            topology,
            shard,
            consistency=self.request.consistency,
            policy=policy,
            health=self._health,
            turn=next(self.runtime.turns),
            key=self.request.partitions[0],
        )

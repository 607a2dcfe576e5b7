"""Asks the candidates of a plan in turn, under one deadline, until one answers."""

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
    InstanceHealth,
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
"""After these another instance may well answer. Not so for a statement that is wrong, or too slow for its budget."""
TRY_THE_NEXT = tuple(_OUTCOMES)

_SHARED_REASONS = (DeadlineExceeded, PoolExhausted, OutOfResources, Conflict)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One statement for `partitions` of one shard, and what its answer must be like.

    `scattered`: it runs in one of the few threads that all scatters share.
    """

    query: Query
    params: Mapping[str, Any]
    partitions: tuple[int, ...]
    consistency: Consistency
    deadline_at: float
    demand: FreshnessRequirement | None = None
    scattered: bool = False


class ShardReading:
    """One read of one shard under way: its plan, who was asked, and what came of it."""

    def __init__(self, runtime: Runtime, topology: Topology, shard: Shard, request: ReadRequest) -> None:
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

    def ask(self, instance: Instance, *, is_last: bool) -> list[dict[str, Any]] | None:
        """Rows of the request's statement. None when this instance failed, which stands in `failures`."""
        request = self.request
        return self.ask_for(instance, request.query, request.params, is_last=is_last)

    def ask_for(
        self, instance: Instance, query: Query, params: Mapping[str, Any], *, is_last: bool
    ) -> list[dict[str, Any]] | None:
        now = time.monotonic()
        attempt_seconds = plan_attempt(
            remaining_seconds=self.request.deadline_at - now,
            answer_seconds=self.runtime.settings.pool.get_answer_seconds(query.query_class),
            is_last=is_last,
        )
        try:
            rows = self.runtime.registry.get(instance).read(
                query,
                params,
                deadline_at=now + attempt_seconds,
                primary_only=self.request.consistency is Consistency.STRONG,
            )
        except TRY_THE_NEXT as error:
            self.note_failure(instance, error, started_at=now)
            return None
        self.attempts.append(QueryAttempt(instance.name, ANSWERED, time.monotonic() - now))
        return rows

    def note_failure(self, instance: Instance, error: ShardProxyError, *, started_at: float) -> None:
        self.failures[instance.name] = error
        self._note_vain(QueryAttempt(instance.name, _OUTCOMES[type(error)], time.monotonic() - started_at))

    def note_behind(self) -> None:
        """The last answer had not seen what is demanded."""
        self._note_vain(replace(self.attempts.pop(), outcome=BEHIND))

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
        """When nobody answered: the one reason that all share (all busy, all too slow), else each one's own."""
        kinds = {type(error) for error in self.failures.values()}
        if len(kinds) == 1:
            last = list(self.failures.values())[-1]
            if isinstance(last, _SHARED_REASONS):
                return last
        reason = "; ".join(map(str, self.failures.values())) or "no instance to ask in time"
        kind = PrimaryUnavailable if self.request.consistency is Consistency.STRONG else ShardUnavailable
        return kind(
            shard=self.plan.shard.name, partitions=self.request.partitions, reason=reason, failures=self.failures
        )

    def is_shed_for(self, instance: Instance) -> bool:
        """Whether this read must not come to `instance` because others had no room for it."""
        overflowed = any(isinstance(error, PoolExhausted) for error in self.failures.values())
        return overflowed and not may_overflow(self.request.query.query_class, instance)

    def _note_vain(self, attempt: QueryAttempt) -> None:
        self.attempts.append(attempt)
        if self.runtime.on_failed_attempt is not None:
            self.runtime.on_failed_attempt(attempt.instance, attempt.outcome)

    def _make_plan(self, topology: Topology, shard: Shard) -> ReadPlan:
        policy, demand = self.runtime.policy, self.request.demand
        if demand is not None and demand.max_staleness_seconds is not None:
            most_seconds = min(policy.replica_max_lag_seconds, demand.max_staleness_seconds)
            policy = replace(policy, replica_max_lag_seconds=most_seconds)
        health: Mapping[str, InstanceHealth] = self._health
        return plan_read(
            topology,
            shard,
            consistency=self.request.consistency,
            policy=policy,
            health=health,
            turn=next(self.runtime.turns),
            key=self.request.partitions[0],
        )


def read_first_answer(reading: ShardReading) -> ReadResult:
    """Rows from the first candidate that answers.

    Raises StatementTimeout and BadStatement as they come, and what `summarize` makes of it when nobody answers.
    """
    candidates = reading.plan.candidates
    for place, candidate in enumerate(candidates, start=1):
        if time.monotonic() >= reading.request.deadline_at:
            break
        if reading.is_shed_for(candidate.instance):
            continue
        rows = reading.ask(candidate.instance, is_last=place == len(candidates))
        if rows is not None:
            return reading.finish(candidate, rows)
    raise reading.summarize()


def read_every_promotable(
    runtime: Runtime, topology: Topology, shard: Shard, query: Query, params: Mapping[str, Any], *, deadline_at: float
) -> dict[str, ReadResult | ShardProxyError]:
    """By instance name; an instance that does not answer within its share of the deadline has its error there.

    A fenced instance is none of them: it has to take over the primary's rows before it may be promoted again. Nor is a
    drained one: it is used again only when it is close to the primary. The primary is one, whatever is said of it.
    """
    promotable = [i for i in shard.copies if i is shard.primary or (i.promotable and not i.drained)]
    answers: dict[str, ReadResult | ShardProxyError] = {}
    for place, instance in enumerate(promotable):
        now = time.monotonic()
        share_seconds = (deadline_at - now) / (len(promotable) - place)
        try:
            rows = runtime.registry.get(instance).read(query, params, deadline_at=now + share_seconds)
        except ShardProxyError as error:
            answers[instance.name] = error
        else:
            answers[instance.name] = ReadResult(
                rows=rows, shard_id=shard.id, instance=instance.name, epoch=topology.epoch
            )
    return answers

"""Asks the candidates of a plan in turn, under one deadline, until one answers."""

import time
from collections.abc import Mapping
from typing import Any

from clusterproxy.errors import ShardUnavailable
from clusterproxy.plan import Consistency, ReadPlan, plan_attempt, plan_read
from clusterproxy.results import ReadResult
from clusterproxy.runtime import Runtime
from configservice.topology import Shard, Topology
from shardproxy.errors import (
    Conflict,
    DeadlineExceeded,
    InstanceUnavailable,
    OutOfResources,
    PoolExhausted,
    ShardProxyError,
)
from shardproxy.query import Query

_TRY_THE_NEXT = (InstanceUnavailable, DeadlineExceeded, PoolExhausted, OutOfResources, Conflict)
"""Another instance may well answer. Not so for a statement that is wrong, or too slow for its budget."""

_SHARED_REASONS = (DeadlineExceeded, PoolExhausted, OutOfResources, Conflict)


def read_shard(
    runtime: Runtime,
    topology: Topology,
    shard: Shard,
    query: Query,
    params: Mapping[str, Any],
    *,
    consistency: Consistency,
    partitions: tuple[int, ...],
    deadline_at: float,
) -> ReadResult:
    """Rows from the first candidate of the shard that answers.

    Raises StatementTimeout and BadStatement as they come. When nobody answers: the one reason that all candidates
    share (all busy, all too slow), else ShardUnavailable with each candidate's own.
    """
    runtime.health.start()
    now = time.monotonic()
    plan = plan_read(
        topology,
        shard,
        consistency=consistency,
        policy=runtime.policy,
        health={i.name: runtime.health.get_health(i, now=now) for i in shard.copies},
        turn=next(runtime.turns),
    )
    failures: dict[str, ShardProxyError] = {}
    for place, instance in enumerate(plan.candidates, start=1):
        now = time.monotonic()
        if now >= deadline_at:
            break
        attempt_seconds = plan_attempt(
            remaining_seconds=deadline_at - now,
            answer_seconds=runtime.settings.pool.get_answer_seconds(query.query_class),
            is_last=place == len(plan.candidates),
        )
        try:
            rows = runtime.registry.get(instance).read(query, params, deadline_at=now + attempt_seconds)
        except _TRY_THE_NEXT as error:
            failures[instance.name] = error
        else:
            return ReadResult(rows=rows, shard_id=shard.id, instance=instance.name, epoch=plan.epoch)
    raise _summarize(plan, partitions=partitions, failures=failures)


def read_every_promotable(
    runtime: Runtime, topology: Topology, shard: Shard, query: Query, params: Mapping[str, Any], *, deadline_at: float
) -> dict[str, ReadResult | ShardProxyError]:
    """By instance name; an instance that does not answer within its share of the deadline has its error there.

    A fenced instance is none of them: it has to take over the primary's rows before it may be promoted again.
    """
    promotable = [i for i in shard.copies if i.promotable]
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


def _summarize(
    plan: ReadPlan, *, partitions: tuple[int, ...], failures: dict[str, ShardProxyError]
) -> ShardUnavailable | ShardProxyError:
    kinds = {type(error) for error in failures.values()}
    if len(kinds) == 1:
        last = list(failures.values())[-1]
        if isinstance(last, _SHARED_REASONS):
            return last
    reason = "; ".join(map(str, failures.values())) or "no instance to ask in time"
    return ShardUnavailable(shard=plan.shard.name, partitions=partitions, reason=reason, failures=failures)

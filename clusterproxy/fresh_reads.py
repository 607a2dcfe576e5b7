"""Reads whose answer must have seen something: asks, waits a bounded time, asks another instance, says how far it got.

Invariant: what is returned has been judged by its own rows. What polls say only decides when it is worth asking.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clusterproxy.errors import NotFarEnough, QuorumUnavailable, TooManyWaiting
from clusterproxy.freshness import (
    FreshnessLag,
    FreshnessRequirement,
    Progress,
    find_shortfall,
    measure_distance,
    raise_demand,
)
from clusterproxy.plan import Candidate, Consistency, Reason, count_quorum, plan_wait
from clusterproxy.read import TRY_THE_NEXT, ReadRequest, ShardReading, read_first_answer
from clusterproxy.results import ReadResult
from clusterproxy.runtime import Runtime
from configservice.topology.model import Shard, Topology
from shardproxy.errors import DeadlineExceeded, ShardProxyError
from shardproxy.query import QueryClass

_LOOK_FIRST = frozenset({QueryClass.REPORT})
"""Too dear to be asked on the chance that the instance is far enough."""


@dataclass(slots=True)
class _Waiting:
    """Counts from the first time that an instance was behind."""

    until: float | None = None


def read_shard(runtime: Runtime, topology: Topology, shard: Shard, request: ReadRequest) -> ReadResult:
    """Rows from the first candidate of the shard that answers as it should; see the two ways below."""
    reading = ShardReading(runtime, topology, shard, request)
    if request.demand is not None:
        return read_as_demanded(reading, request.demand)
    if request.consistency is Consistency.QUORUM:
        raise ValueError("a quorum is told by a demand how to learn the instances' progress")
    return read_first_answer(reading)


def read_as_demanded(reading: ShardReading, demand: FreshnessRequirement) -> ReadResult:
    """Rows that meet `demand`, and for a quorum everything that R copies have seen.

    Raises NotFarEnough when those who answer do not get there within `read_wait_seconds`, TooManyWaiting when as many
    readers wait as may, QuorumUnavailable, and what `ShardReading.summarize` makes of it when nobody answers.
    """
    candidates: Sequence[Candidate] = reading.plan.candidates
    if reading.request.consistency is Consistency.QUORUM:
        demand, candidates = _ask_quorum(reading, demand)
    waiting = _Waiting()
    behind: list[tuple[Candidate, FreshnessLag]] = []
    for place, candidate in enumerate(candidates, start=1):
        if time.monotonic() >= reading.request.deadline_at:
            break
        if reading.is_shed_for(candidate.instance):
            continue
        found = _visit(reading, candidate, demand, waiting, is_last=place == len(candidates))
        if isinstance(found, ReadResult):
            return found
        if found is not None:
            behind.append((candidate, found))
    if not behind:
        raise reading.summarize()
    # Those after the furthest may have failed at once: the time that was meant for them is the furthest's.
    candidate, shortfall = max(behind, key=lambda pair: pair[1].reached.position)
    found = _visit(reading, candidate, demand, waiting, is_last=True) if _has_time(reading, waiting) else shortfall
    if isinstance(found, ReadResult):
        return found
    raise NotFarEnough(shard=reading.plan.shard.name, shortfall=found or shortfall)


def _has_time(reading: ShardReading, waiting: _Waiting) -> bool:
    now = time.monotonic()
    return waiting.until is not None and now < min(waiting.until, reading.request.deadline_at)


def _visit(
    reading: ShardReading, candidate: Candidate, demand: FreshnessRequirement, waiting: _Waiting, *, is_last: bool
) -> ReadResult | FreshnessLag | None:
    """Asks one instance, and again when it has come far enough within its share of the wait. None when it failed."""
    behind: FreshnessLag | None = None
    is_worth_asking = reading.request.query.query_class not in _LOOK_FIRST
    while True:
        if is_worth_asking:
            found = _ask(reading, candidate, demand, is_last=is_last)
            if not isinstance(found, FreshnessLag):
                return found
            behind = found
        started_at = time.monotonic()
        try:
            missing = _wait(reading, candidate, demand, waiting, is_last=is_last)
        except ShardProxyError as error:
            if behind is not None and isinstance(error, DeadlineExceeded):
                return behind
            if not isinstance(error, TRY_THE_NEXT):
                raise
            reading.note_failure(candidate.instance, error, started_at=started_at)
            return None
        if missing is not None:
            return missing
        is_worth_asking = True


def _ask(
    reading: ShardReading, candidate: Candidate, demand: FreshnessRequirement, *, is_last: bool
) -> ReadResult | FreshnessLag | None:
    rows = reading.ask(candidate.instance, is_last=is_last)
    if rows is None:
        return None
    progress = demand.probe.parse(rows)
    shortfall = find_shortfall(demand, progress, partitions=reading.request.partitions, now=datetime.now(UTC))
    if shortfall is None:
        return reading.finish(candidate, rows, progress)
    reading.note_behind()
    return shortfall


def _wait(
    reading: ShardReading, candidate: Candidate, demand: FreshnessRequirement, waiting: _Waiting, *, is_last: bool
) -> FreshnessLag | None:
    """Until the instance is far enough, or its share of the wait is over. Raises what can be wrong with it."""
    runtime, request = reading.runtime, reading.request
    started_at = time.monotonic()
    if waiting.until is None:
        waiting.until = min(started_at + runtime.settings.read_wait_seconds, request.deadline_at)
    share_seconds = plan_wait(remaining_seconds=waiting.until - started_at, is_last=is_last)
    answer_seconds = runtime.settings.pool.get_answer_seconds(demand.probe.query.query_class)

    def ask(partitions: Sequence[int]) -> Mapping[int, Progress]:
        proxy = runtime.registry.get(candidate.instance)
        params: dict[str, Any] = {"partitions": list(partitions)}
        rows = proxy.read(demand.probe.query, params, deadline_at=time.monotonic() + answer_seconds)
        return demand.probe.parse(rows)

    slots = runtime.scatter_waiting_slots if request.scattered else runtime.waiting_slots
    if not slots.acquire(blocking=False):
        raise TooManyWaiting("as many reads of this process wait as may")
    try:
        watch = runtime.get_watch(candidate.instance.name)
        return watch.wait(demand, request.partitions, ask=ask, until=started_at + share_seconds)
    finally:
        slots.release()
        reading.waited_seconds += time.monotonic() - started_at


def _ask_quorum(reading: ShardReading, demand: FreshnessRequirement) -> tuple[FreshnessRequirement, list[Candidate]]:
    """Asks so many instances how far they are that one of them has everything acknowledged.

    Then whoever answers must be as far as the furthest of them, which is asked first.
    """
    request, plan = reading.request, reading.plan
    needed = count_quorum(plan.shard)
    seen: list[tuple[Candidate, Mapping[int, Progress]]] = []
    params = {"partitions": list(request.partitions)}
    for place, candidate in enumerate(plan.candidates, start=1):
        if len(seen) == needed or time.monotonic() >= request.deadline_at:
            break
        rows = reading.ask_for(candidate.instance, demand.probe.query, params, is_last=place == len(plan.candidates))
        if rows is not None:
            seen.append((candidate, demand.probe.parse(rows)))
    if len(seen) < needed:
        raise QuorumUnavailable(
            shard=plan.shard.name,
            partitions=request.partitions,
            reason=f"{len(seen)} of the {needed} instances that a quorum needs answer",
            failures=reading.failures,
        )
    seen.sort(key=lambda pair: measure_distance(pair[1], partitions=request.partitions), reverse=True)
    first, *others = (candidate for candidate, _ in seen)
    asked = {first.instance.name, *(c.instance.name for c in others)}
    rest = [c for c in plan.candidates if c.instance.name not in asked and c.instance.name not in reading.failures]
    candidates = [Candidate(first.instance, Reason.FURTHEST), *others, *rest]
    return raise_demand(demand, (progress for _, progress in seen)), candidates

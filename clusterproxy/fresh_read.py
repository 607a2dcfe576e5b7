"""A read of one shard with a freshness requirement: it waits a bounded time for an instance, then tries another.

Invariant: rows that are returned meet the requirement by their own progress. Polls only decide when to query again.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clusterproxy.errors import NotFreshEnough, PositionLost, QuorumUnavailable, TooManyWaiting
from clusterproxy.freshness import (
    FreshnessLag,
    FreshnessRequirement,
    Progress,
    find_lag,
    find_lost,
    measure_distance,
    raise_requirement,
)
from clusterproxy.plan import Candidate, Consistency, Reason, count_quorum, plan_wait
from clusterproxy.results import ReadResult
from clusterproxy.shard_read import RETRY_ELSEWHERE, ShardRead
from shardproxy.errors import DeadlineExceeded, ShardProxyError
from shardproxy.query import QueryClass

logger = logging.getLogger(__name__)

_POLL_FIRST = frozenset({QueryClass.REPORT})
"""Too expensive to execute before a poll says that the instance is fresh enough."""


@dataclass(slots=True)
class _Waiting:
    """`until` (monotonic clock) is set when the first instance lags; then a newer watermark is asked for, once."""

    until: float | None = None
    has_requested: bool = False


def read_fresh(read: ShardRead, requirement: FreshnessRequirement) -> ReadResult:
    """Rows that meet `requirement`, and for a quorum include everything that R copies have applied.

    Raises PositionLost, NotFreshEnough when no instance that answers meets it within `read_wait_seconds`,
    TooManyWaiting at the bound of waiting reads, QuorumUnavailable, and what `ShardRead.summarize` makes of the
    failures when no instance answered.
    """
    candidates: Sequence[Candidate] = read.plan.candidates
    if read.request.consistency is Consistency.QUORUM:
        requirement, candidates = _query_quorum(read, requirement)
    waiting = _Waiting()
    lagging: list[tuple[Candidate, FreshnessLag]] = []
    for place, candidate in enumerate(candidates, start=1):
        if time.monotonic() >= read.request.deadline_at:
            break
        if read.is_shed_for(candidate.instance):
            continue
        found = _try(read, candidate, requirement, waiting, is_last=place == len(candidates))
        if isinstance(found, ReadResult):
            return found
        if found is not None:
            lagging.append((candidate, found))
    if not lagging:
        raise read.summarize()
    # Candidates after the furthest one may have failed at once: the furthest gets their share of the wait too.
    candidate, lag = max(lagging, key=lambda pair: pair[1].reached.position)
    found = _try(read, candidate, requirement, waiting, is_last=True) if _has_time(read, waiting) else lag
    if isinstance(found, ReadResult):
        return found
    raise NotFreshEnough(shard=read.plan.shard.name, lag=found or lag)


def _has_time(read: ShardRead, waiting: _Waiting) -> bool:
    now = time.monotonic()
    return waiting.until is not None and now < min(waiting.until, read.request.deadline_at)


def _try(
    read: ShardRead, candidate: Candidate, requirement: FreshnessRequirement, waiting: _Waiting, *, is_last: bool
) -> ReadResult | FreshnessLag | None:
    """Queries one instance, and again once polls within its share of the wait say that it is fresh enough. None when
    it failed."""
    lag: FreshnessLag | None = None
    polls_first = read.request.query.query_class in _POLL_FIRST
    while True:
        if not polls_first:
            found = _query(read, candidate, requirement, is_last=is_last)
            if not isinstance(found, FreshnessLag):
                return found
            lag = found
        if lag is None or lag.required is None:
            _request_watermarks(read, requirement, waiting)
        started_at = time.monotonic()
        try:
            lag_at_end = _wait(read, candidate, requirement, waiting, is_last=is_last)
        except ShardProxyError as error:
            if lag is not None and isinstance(error, DeadlineExceeded):
                return lag
            if not isinstance(error, RETRY_ELSEWHERE):
                raise
            read.record_failure(candidate.instance, error, started_at=started_at)
            return None
        if lag_at_end is not None:
            return lag_at_end
        polls_first = False


def _query(
    read: ShardRead, candidate: Candidate, requirement: FreshnessRequirement, *, is_last: bool
) -> ReadResult | FreshnessLag | None:
    rows = read.query(candidate.instance, read.request.query, read.request.params, is_last=is_last)
    if rows is None:
        return None
    progress = requirement.probe.parse(rows)
    lag = find_lag(requirement, progress, partitions=read.request.partitions, now=datetime.now(UTC))
    if lag is None:
        lost = find_lost(requirement, progress, partitions=read.request.partitions)
        if lost is not None:
            raise PositionLost(lost)
        return read.finish(candidate, rows, progress)
    read.record_behind()
    return lag


def _wait(
    read: ShardRead, candidate: Candidate, requirement: FreshnessRequirement, waiting: _Waiting, *, is_last: bool
) -> FreshnessLag | None:
    """Returns None once the instance is fresh enough, and its lag when its share of the wait is over. Raises the
    instance's error."""
    runtime, request = read.runtime, read.request
    started_at = time.monotonic()
    if waiting.until is None:
        waiting.until = min(started_at + runtime.settings.read_wait_seconds, request.deadline_at)
    share_seconds = plan_wait(remaining_seconds=waiting.until - started_at, is_last=is_last)
    answer_seconds = runtime.pool.get_answer_seconds(requirement.probe.query.query_class)

    def query_progress(partitions: Sequence[int]) -> Mapping[int, Progress]:
        proxy = runtime.registry.get(candidate.instance)
        params: dict[str, Any] = {"partitions": list(partitions)}
        rows = proxy.read(requirement.probe.query, params, deadline_at=time.monotonic() + answer_seconds)
        return requirement.probe.parse(rows)

    slots = runtime.scatter_waiting_slots if request.scattered else runtime.waiting_slots
    if not slots.acquire(blocking=False):
        raise TooManyWaiting("the bound of reads that wait in this process is reached")
    try:
        watch = runtime.get_watch(candidate.instance.name)
        return watch.wait(requirement, request.partitions, query=query_progress, until=started_at + share_seconds)
    finally:
        slots.release()
        read.waited_seconds += time.monotonic() - started_at


def _request_watermarks(read: ShardRead, requirement: FreshnessRequirement, waiting: _Waiting) -> None:
    """Ask the primary for newer watermarks: those of partitions without new events are not advanced all the time.

    Best effort and bounded: a primary that is down does not fail a read that a replica may answer.
    """
    query, primary = requirement.probe.request, read.plan.shard.primary
    if query is None or primary is None or requirement.max_staleness_seconds is None or waiting.has_requested:
        return
    waiting.has_requested = True
    partitions = read.runtime.find_unrequested(read.request.partitions)
    if not partitions:
        return
    deadline_at = min(read.request.deadline_at, time.monotonic() + read.runtime.settings.read_request_seconds)
    try:
        with read.runtime.registry.get(primary).transaction(
            query.query_class, deadline_at=deadline_at, waits_for_standbys=False
        ) as connection:
            connection.execute(query.text, {"partitions": partitions})
    except ShardProxyError as error:
        logger.debug("newer watermarks were not asked for: %s", error)


def _query_quorum(read: ShardRead, requirement: FreshnessRequirement) -> tuple[FreshnessRequirement, list[Candidate]]:
    """Reads the progress of as many instances as it takes for one of them to have everything acknowledged.

    The requirement then is the progress of the furthest of them, which is the first candidate.
    """
    request, plan = read.request, read.plan
    needed = count_quorum(plan.shard)
    seen: list[tuple[Candidate, Mapping[int, Progress]]] = []
    params = {"partitions": list(request.partitions)}
    for place, candidate in enumerate(plan.candidates, start=1):
        if len(seen) == needed or time.monotonic() >= request.deadline_at:
            break
        rows = read.query(candidate.instance, requirement.probe.query, params, is_last=place == len(plan.candidates))
        if rows is not None:
            seen.append((candidate, requirement.probe.parse(rows)))
    if len(seen) < needed:
        raise QuorumUnavailable(
            shard=plan.shard.name,
            partitions=request.partitions,
            reason=f"{len(seen)} of the {needed} instances of a quorum answer",
            failures=read.failures,
        )
    seen.sort(key=lambda pair: measure_distance(pair[1], partitions=request.partitions), reverse=True)
    first, *others = (candidate for candidate, _ in seen)
    queried = {first.instance.name, *(c.instance.name for c in others)}
    rest = [c for c in plan.candidates if c.instance.name not in queried and c.instance.name not in read.failures]
    candidates = [Candidate(first.instance, Reason.FURTHEST), *others, *rest]
    return raise_requirement(requirement, (progress for _, progress in seen)), candidates

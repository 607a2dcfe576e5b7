"""Retention: plans what each partition may delete, and deletes it in short transactions.

Ages are measured back from the partition's *watermark*, not from the clock: events that wait in the log still need ids
and minutes of their age. They are also limited by the shard's deletion clock, which does not jump when a system clock
does; see storage/deletion_clock.py.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Shard
from runtime.metrics import DELETION_CLOCK_BEHIND_SECONDS, RETENTION_REMOVED
from shardproxy.errors import ShardProxyError
from shardproxy.query import QueryClass
from viewcounter.maintenance.rollup import lock_owned
from viewcounter.maintenance.settings import RetentionSettings
from viewcounter.storage.deletion_clock import (
    DELETION_LAG_LOGGED,
    DeletionClock,
    advance_deletion_clock,
    read_deletion_clock,
    read_uptime,
)
from viewcounter.storage.partitions import lock_every_row
from viewcounter.storage.raw_days import drop_raw_day, find_old_raw_days
from viewcounter.storage.retention import (
    Connection,
    OldestMarks,
    RetentionEdges,
    delete_conflicts,
    delete_hour_sketches_of_day,
    delete_hours_of_day,
    delete_ids,
    delete_minutes_of_hour,
    delete_resolved_dead_letters,
    find_first_rolled_hour,
    find_oldest_marks,
    set_edges,
)
from viewcounter.storage.rollup import DAY, HOUR, RollupState, find_next_hour, split_days

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RetentionReport:
    """Rows deleted from one partition, and the edges of what it keeps. `is_complete`: nothing was left to delete."""

    partition: int
    edges: RetentionEdges | None = None
    minute_count: int = 0
    hour_count: int = 0
    hour_sketch_count: int = 0
    id_row_count: int = 0
    dead_letter_count: int = 0
    conflict_count: int = 0
    is_complete: bool = False

    @property
    def has_changes(self) -> bool:
        """Whether a row was written or deleted."""
        return (
            self.minute_count
            + self.hour_count
            + self.hour_sketch_count
            + self.id_row_count
            + self.dead_letter_count
            + self.conflict_count
        ) > 0


def plan_edges(state: RollupState, marks: OldestMarks, *, policy: RetentionSettings) -> RetentionEdges:
    """Pure: the new edges of the partition. Never earlier than before; minutes are deleted only below rolled and clean
    days, whose quarter hours are made from them, hours only below such days whose sketches are made."""
    admits_since = max(
        state.admits_since, (state.watermark - policy.ids + policy.guard).replace(second=0, microsecond=0)
    )
    minutes = [
        state.watermark - policy.minutes,
        admits_since,
        state.rolled_through,
        *(mark for mark in (marks.hour, marks.day) if mark),
    ]
    minutes_since = max(state.minutes_since, _floor_day(min(minutes)))
    hours = [
        state.watermark - policy.hours,
        minutes_since,
        *(mark for mark in (marks.hour, marks.day, marks.sketch) if mark),
    ]
    hours_since = max(state.hours_since, _floor_day(min(hours)))
    return RetentionEdges(admits_since, minutes_since, hours_since)


def limit_age(state: RollupState, horizon: datetime) -> RollupState:
    """Pure. The row for retention: no age is measured from a later time than `horizon`."""
    return replace(state, watermark=min(state.watermark, horizon))


def retain_partition(
    cluster: ClusterProxy,
    partition: int,
    *,
    policy: RetentionSettings,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[RetentionReport], None] | None = None,
) -> RetentionReport:
    """Delete until nothing is due or the budget is used up.

    Raises Retryable errors of the shard, PartitionNotOwned, StaleTopology; earlier transactions stay committed.
    """
    report = RetentionReport(partition)
    # A fence: the horizon read below is that of the shard that owns the partition at this epoch.
    epoch = cluster.topology.assignments[partition].epoch
    ends_at = clock() + policy.budget_seconds
    with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
        horizon = advance_deletion_clock(connection, read_uptime()).horizon
    for remove in (_remove_minutes, _remove_hours, _remove_ids, _remove_dead_letters, _remove_conflicts):
        is_more = True
        while is_more:
            if clock() >= ends_at:
                return report
            with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
                state = lock_owned(connection, partition, epoch=epoch)
                is_more, removed = remove(_Work(connection, limit_age(state, horizon), partition, policy, horizon))
            _count(report, removed)
            if progress is not None:
                progress(report)
    report.is_complete = True
    return report


@dataclass(frozen=True, slots=True)
class _Work:
    """One transaction on a partition. It has locked the partition's row, `state`."""

    connection: Connection
    state: RollupState
    partition: int
    policy: RetentionSettings
    horizon: datetime

    def plan(self) -> RetentionEdges:
        return plan_edges(self.state, find_oldest_marks(self.connection, self.partition), policy=self.policy)

    def set_edges(self, edges: RetentionEdges) -> None:
        set_edges(self.connection, self.partition, edges)


@dataclass(frozen=True, slots=True)
class _Removed:
    """Deletions of one transaction, counted after its commit."""

    edges: RetentionEdges | None = None
    minute_count: int = 0
    hour_count: int = 0
    hour_sketch_count: int = 0
    id_row_count: int = 0
    dead_letter_count: int = 0
    conflict_count: int = 0


def _remove_minutes(work: _Work) -> tuple[bool, _Removed]:
    """Delete the minutes of the oldest hour and move the edge in the partition's row."""
    goal = work.plan()
    edges = replace(goal, hours_since=work.state.hours_since)
    hour = find_next_hour(work.connection, work.partition, first=work.state.minutes_since)
    if hour is None or hour >= goal.minutes_since:
        work.set_edges(edges)
        return False, _Removed(edges)
    count = delete_minutes_of_hour(work.connection, work.partition, hour=hour)
    edges = replace(edges, minutes_since=hour + HOUR)
    work.set_edges(edges)
    return True, _Removed(edges, minute_count=count)


def _remove_hours(work: _Work) -> tuple[bool, _Removed]:
    """Delete the hours of the oldest day, and their sketches. The day keeps its parts."""
    state = work.state
    edges = RetentionEdges(
        state.admits_since, state.minutes_since, min(work.plan().hours_since, _floor_day(state.minutes_since))
    )
    first = find_first_rolled_hour(work.connection, work.partition)
    if first is None or first >= edges.hours_since:
        work.set_edges(edges)
        return False, _Removed(edges)
    day = _floor_day(first)
    split_days(work.connection, work.partition, day=day)
    count = delete_hours_of_day(work.connection, work.partition, day=day)
    sketch_count = delete_hour_sketches_of_day(work.connection, work.partition, day=day)
    edges = replace(edges, hours_since=max(state.hours_since, day + DAY))
    work.set_edges(edges)
    return True, _Removed(edges, hour_count=count, hour_sketch_count=sketch_count)


def _remove_ids(work: _Work) -> tuple[bool, _Removed]:
    """Delete ids below the edge, which an earlier transaction has committed."""
    policy = work.policy
    count = delete_ids(work.connection, work.partition, guard=policy.guard, limit=policy.delete_rows)
    return count == policy.delete_rows, _Removed(id_row_count=count)


def _remove_dead_letters(work: _Work) -> tuple[bool, _Removed]:
    limit = work.policy.delete_rows
    count = delete_resolved_dead_letters(
        work.connection, work.partition, horizon=work.horizon, age=work.policy.resolved, limit=limit
    )
    return count == limit, _Removed(dead_letter_count=count)


def _remove_conflicts(work: _Work) -> tuple[bool, _Removed]:
    limit = work.policy.delete_rows
    count = delete_conflicts(
        work.connection, work.partition, horizon=work.horizon, age=work.policy.resolved, limit=limit
    )
    return count == limit, _Removed(conflict_count=count)


def _floor_day(instant: datetime) -> datetime:
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)


def _count(report: RetentionReport, removed: _Removed) -> None:
    report.edges = removed.edges or report.edges
    report.minute_count += removed.minute_count
    report.hour_count += removed.hour_count
    report.hour_sketch_count += removed.hour_sketch_count
    report.id_row_count += removed.id_row_count
    report.dead_letter_count += removed.dead_letter_count
    report.conflict_count += removed.conflict_count
    RETENTION_REMOVED.labels("event_minute").inc(removed.minute_count)
    RETENTION_REMOVED.labels("event_hour").inc(removed.hour_count)
    RETENTION_REMOVED.labels("event_sketch").inc(removed.hour_sketch_count)
    RETENTION_REMOVED.labels("event_ids").inc(removed.id_row_count)
    RETENTION_REMOVED.labels("dead_letter").inc(removed.dead_letter_count)
    RETENTION_REMOVED.labels("event_conflict").inc(removed.conflict_count)


def read_plan(
    cluster: ClusterProxy, partition: int, *, policy: RetentionSettings
) -> tuple[RollupState, RetentionEdges]:
    """The present edges of the partition, and those that `retain_partition` would set."""
    with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
        state = lock_owned(connection, partition, epoch=cluster.topology.assignments[partition].epoch)
        limited = limit_age(state, read_deletion_clock(connection).horizon)
        return state, plan_edges(limited, find_oldest_marks(connection, partition), policy=policy)


def find_old_raw_days_of(cluster: ClusterProxy, shard: Shard, *, policy: RetentionSettings) -> list[str]:
    """Names of the day partitions of raw_event that may be dropped."""
    with cluster.shard_transaction(shard.id) as connection:
        horizon = read_deletion_clock(connection).horizon
        return find_old_raw_days(connection, horizon=horizon, retention=policy.raw, guard=policy.guard)


def drop_old_raw_days(cluster: ClusterProxy, *, policy: RetentionSettings) -> None:
    """Each in a transaction of its own. A shard that is down or busy delays no other; the next call retries it."""
    for shard in cluster.topology.shards:
        try:
            _advance(cluster, shard)
            for name in find_old_raw_days_of(cluster, shard, policy=policy):
                if _drop_raw_day(cluster, shard, name, policy=policy):
                    RETENTION_REMOVED.labels("raw_event").inc()
                    logger.info("dropped %s on %s", name, shard.name)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("cannot drop old raw events on %s now: %s", shard.name, error)


def _drop_raw_day(cluster: ClusterProxy, shard: Shard, name: str, *, policy: RetentionSettings) -> bool:
    """False when it is no longer old: a partition has moved here whose raw events reach that far back."""
    with cluster.shard_transaction(shard.id) as connection:
        lock_every_row(connection)
        horizon = read_deletion_clock(connection).horizon
        old = find_old_raw_days(connection, horizon=horizon, retention=policy.raw, guard=policy.guard)
        if name not in old:
            return False
        drop_raw_day(connection, name, lock_seconds=policy.drop_lock_seconds)
        return True


def _advance(cluster: ClusterProxy, shard: Shard) -> None:
    """Advance the shard's deletion clock, set its metric, and log a large lag."""
    with cluster.shard_transaction(shard.id) as connection:
        clock: DeletionClock = advance_deletion_clock(connection, read_uptime())
    DELETION_CLOCK_BEHIND_SECONDS.labels(shard.name).set(max(0.0, clock.behind_seconds))
    if clock.behind_seconds > DELETION_LAG_LOGGED.total_seconds():
        logger.warning(
            "deletion by age on %s counts from %s, %.1f hours behind the shard's clock: a clock was set ahead, or no "
            "worker has run retention for that long; it catches up by itself, or at once by `manage.py retention "
            "--accept-clock` if the clock is right",
            shard.name,
            clock.horizon.isoformat(timespec="seconds"),
            clock.behind_seconds / 3600,
        )

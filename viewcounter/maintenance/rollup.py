"""Rollup of one partition: short transactions, each complete in itself, until the budget is used up."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from runtime.metrics import ROLLUP_BUCKETS, ROLLUP_DIRTY_BUCKETS, ROLLUP_SECONDS
from shardproxy.query import QueryClass
from viewcounter.maintenance.settings import RollupSettings
from viewcounter.processing.errors import PartitionNotOwned, StaleTopology
from viewcounter.storage.errors import PartitionBeingMoved
from viewcounter.storage.rollup import (
    DAY,
    HOUR,
    READ_ROLLUP_BACKLOG,
    Connection,
    DirtyTier,
    RollupState,
    RollupStep,
    apply_step,
    find_marks,
    find_next_hour,
    lock_rollup,
    replace_marked,
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RollupReport:
    """Result of a call. `is_complete`: no bucket was due when it ended."""

    partition: int
    rolled_through: datetime | None = None
    hour_count: int = 0
    day_count: int = 0
    dirty_hour_count: int = 0
    dirty_day_count: int = 0
    is_complete: bool = False

    @property
    def has_changes(self) -> bool:
        """Whether a row was written or deleted."""
        return (self.hour_count + self.day_count + self.dirty_hour_count + self.dirty_day_count) > 0


def get_target(watermark: datetime, *, grace_seconds: float) -> datetime:
    """The last hour edge that lies `grace_seconds` or more before the watermark."""
    return (watermark - timedelta(seconds=grace_seconds)).replace(minute=0, second=0, microsecond=0)


def plan_step(rolled_through: datetime, *, next_hour: datetime | None, target: datetime) -> RollupStep | None:
    """Pure. Roll one hour, or skip hours without events; a step stops at the end of a day, which it closes.

    `next_hour`: first hour with events from `rolled_through` on. Returns None if nothing is due.
    """
    if rolled_through >= target:
        return None
    has_events = next_hour == rolled_through
    if has_events:
        reached = rolled_through + HOUR
    else:
        reached = target if next_hour is None else min(next_hour, target)
        day_end = rolled_through.replace(hour=0) + DAY
        if rolled_through.hour != 0:
            reached = min(reached, day_end)
    return RollupStep(
        hour=rolled_through if has_events else None,
        day=reached - DAY if reached.hour == 0 and rolled_through > reached - DAY else None,
        rolled_through=reached,
    )


def roll_partition(
    cluster: ClusterProxy,
    partition: int,
    *,
    settings: RollupSettings,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[RollupReport], None] | None = None,
) -> RollupReport:
    """Roll until nothing is due or the budget is used up.

    Raises Retryable errors of the shard, PartitionNotOwned, StaleTopology; earlier transactions stay committed.
    """
    report = RollupReport(partition)
    ends_at = clock() + settings.budget_seconds
    with ROLLUP_SECONDS.time():
        while clock() < ends_at and not report.is_complete:
            with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
                state = lock_owned(connection, partition, epoch=cluster.topology.assignments[partition].epoch)
                done = _roll_once(connection, state, report, settings=settings)
            _count(report, done)
            if progress is not None:
                progress(report)
    return report


@dataclass(frozen=True, slots=True)
class _Done:
    """Result of one transaction, counted after its commit."""

    rolled_through: datetime
    hour_count: int = 0
    day_count: int = 0
    dirty_hour_count: int = 0
    dirty_day_count: int = 0
    is_complete: bool = False


def _roll_once(connection: Connection, state: RollupState, report: RollupReport, *, settings: RollupSettings) -> _Done:
    partition = report.partition
    target = get_target(state.watermark, grace_seconds=settings.grace_seconds)
    next_hour = find_next_hour(connection, partition, first=state.rolled_through)
    step = plan_step(state.rolled_through, next_hour=next_hour, target=target)
    if step is not None:
        apply_step(connection, partition, step)
        return _Done(step.rolled_through, hour_count=int(step.hour is not None), day_count=int(step.day is not None))
    tier, marks = find_marks(connection, partition, limit=settings.marks_max)
    if not marks:
        return _Done(state.rolled_through, is_complete=True)
    count = replace_marked(connection, partition, tier, marks, state=state)
    if count < len(marks):
        logger.error(
            "partition %d: %d %ss were marked dirty after their sources were deleted; they are left unchanged",
            partition,
            len(marks) - count,
            tier,
        )
    if tier is DirtyTier.HOUR:
        return _Done(state.rolled_through, dirty_hour_count=count)
    return _Done(state.rolled_through, dirty_day_count=count)


def _count(report: RollupReport, done: _Done) -> None:
    report.rolled_through = done.rolled_through
    report.hour_count += done.hour_count
    report.day_count += done.day_count
    report.dirty_hour_count += done.dirty_hour_count
    report.dirty_day_count += done.dirty_day_count
    report.is_complete = done.is_complete
    ROLLUP_BUCKETS.labels("hour").inc(done.hour_count + done.dirty_hour_count)
    ROLLUP_BUCKETS.labels("day").inc(done.day_count + done.dirty_day_count)


def lock_owned(connection: Connection, partition: int, *, epoch: int) -> RollupState:
    """Lock and return the row of a partition that this shard owns at `epoch`.

    Raises PartitionNotOwned, PartitionBeingMoved, StaleTopology.
    """
    state = lock_rollup(connection, partition)
    if state.state != "owned":
        raise PartitionNotOwned(f"partition {partition} is {state.state}")
    if state.is_being_moved:
        raise PartitionBeingMoved(f"partition {partition} is being moved")
    if state.epoch != epoch:
        raise StaleTopology(f"partition {partition} has epoch {state.epoch}, topology says {epoch}")
    return state


def find_partitions_to_roll(cluster: ClusterProxy, *, grace_seconds: float) -> list[int]:
    """Partitions with an hour to close or with dirty marks, on the shards that answer."""
    scattered = cluster.scatter(READ_ROLLUP_BACKLOG, {}, consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows if row["state"] == "owned"]
    if not scattered.missing:
        ROLLUP_DIRTY_BUCKETS.labels("hour").set(sum(row["dirty_hours"] for row in rows))
        ROLLUP_DIRTY_BUCKETS.labels("day").set(sum(row["dirty_days"] for row in rows))
    return sorted(
        row["partition"]
        for row in rows
        if not row["is_being_moved"]
        and (
            row["dirty_hours"]
            or row["dirty_days"]
            or get_target(row["watermark"], grace_seconds=grace_seconds) > row["rolled_through"]
        )
    )

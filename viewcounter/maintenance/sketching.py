"""Sketches of one partition: raw events are read without a lock, their sketches stored in short transactions."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from runtime.metrics import SKETCH_SECONDS, SKETCHES_DUE, SKETCHES_MADE
from shardproxy.query import QueryClass
from viewcounter.maintenance.rollup import lock_owned
from viewcounter.maintenance.settings import SketchSettings
from viewcounter.storage.rollup import DirtyTier
from viewcounter.storage.sketches import (
    BEFORE_ALL,
    READ_SKETCH_BACKLOG,
    Connection,
    Due,
    MadeSketch,
    StaleKey,
    clear_due,
    find_due,
    find_stale,
    make_day_sketches,
    make_hour_sketches,
    plan_reads,
    store_sketches,
)

logger = logging.getLogger(__name__)

HOURS_OF_DAY = 24
"""Number of sketches that are merged into one of a day."""


@dataclass(slots=True)
class SketchReport:
    """Result of a call. `unmade_count`: sketches some of whose events are gone. `is_complete`: none is due."""

    partition: int
    hour_count: int = 0
    day_count: int = 0
    unmade_count: int = 0
    is_complete: bool = False

    @property
    def has_changes(self) -> bool:
        """Whether a row was written or deleted."""
        return (self.hour_count + self.day_count + self.unmade_count) > 0


def sketch_partition(
    cluster: ClusterProxy,
    partition: int,
    *,
    settings: SketchSettings,
    clock: Callable[[], float] = time.monotonic,
) -> SketchReport:
    """Make sketches until none is due or the budget is used up.

    Raises Retryable errors of the shard, PartitionNotOwned, StaleTopology; earlier transactions stay committed.
    """
    report = SketchReport(partition)
    # Taken before the first read: sketches of events that were read without a lock are stored only if the partition has
    # not moved since.
    epoch = cluster.topology.assignments[partition].epoch
    progress = _Progress(None, BEFORE_ALL)
    ends_at = clock() + settings.budget_seconds
    with SKETCH_SECONDS.time():
        while clock() < ends_at and not report.is_complete:
            work = _read_next(cluster, partition, progress, settings=settings)
            if work is None:
                report.is_complete = True
                break
            with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
                lock_owned(connection, partition, epoch=epoch)
                store_sketches(connection, partition, work.due, work.made)
                if not work.keys:
                    clear_due(connection, partition, work.due)
            _count(report, work)
            progress = work.progress
    return report


@dataclass(frozen=True, slots=True)
class _Progress:
    """The bucket in progress, and its last key that is done."""

    due: Due | None
    after: StaleKey


@dataclass(frozen=True, slots=True)
class _Work:
    """The next keys of a bucket and their sketches. No `keys`: the bucket is done."""

    due: Due
    keys: list[StaleKey]
    made: list[MadeSketch]

    @property
    def progress(self) -> _Progress:
        return _Progress(self.due, self.keys[-1] if self.keys else BEFORE_ALL)


def _read_next(cluster: ClusterProxy, partition: int, progress: _Progress, *, settings: SketchSettings) -> _Work | None:
    """The next sketches to store. Needs no common snapshot: see storage/sketches.py."""
    valued = [event_type.id for event_type in cluster.topology.event_types if event_type.valued]
    with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
        due = find_due(connection, partition)
        if due is None:
            return None
        after = progress.after if progress.due == due else BEFORE_ALL
        limit = settings.max_keys if due.tier is DirtyTier.HOUR else max(1, settings.max_keys // HOURS_OF_DAY)
        found = find_stale(connection, partition, due, after=after, valued_types=valued, limit=limit)
        if not found:
            return _Work(due, [], [])
        keys = found if due.tier is DirtyTier.DAY else plan_reads(found, max_events=settings.max_events)[0]
        return _Work(due, keys, _make(connection, partition, due, keys, valued=valued, settings=settings))


def _make(
    connection: Connection,
    partition: int,
    due: Due,
    keys: list[StaleKey],
    *,
    valued: list[int],
    settings: SketchSettings,
) -> list[MadeSketch]:
    if due.tier is DirtyTier.DAY:
        return make_day_sketches(connection, partition, keys, day=due.start, valued_types=valued)
    return make_hour_sketches(
        connection,
        partition,
        keys,
        hour=due.start,
        valued_types=valued,
        future_seconds=settings.future_seconds,
        max_events=settings.max_events,
    )


def _count(report: SketchReport, work: _Work) -> None:
    is_day = work.due.tier is DirtyTier.DAY
    report.day_count += len(work.made) if is_day else 0
    report.hour_count += 0 if is_day else len(work.made)
    unmade_count = len(work.keys) - len(work.made)
    report.unmade_count += unmade_count
    SKETCHES_MADE.labels(work.due.tier.value).inc(len(work.made))
    if unmade_count:
        logger.warning(
            "partition %d: %d videos of the %s %s have no sketches: raw events or sketches of hours are gone",
            report.partition,
            unmade_count,
            work.due.tier,
            f"{work.due.start:%Y-%m-%dT%H:%MZ}",
        )


def find_partitions_to_sketch(cluster: ClusterProxy) -> list[int]:
    """Partitions with buckets that are due, on the shards that answer."""
    scattered = cluster.scatter(READ_SKETCH_BACKLOG, {}, consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows if row["state"] == "owned"]
    if not scattered.missing:
        SKETCHES_DUE.labels("hour").set(sum(row["due_hours"] for row in rows))
        SKETCHES_DUE.labels("day").set(sum(row["due_days"] for row in rows))
    return sorted(
        row["partition"] for row in rows if not row["is_being_moved"] and (row["due_hours"] or row["due_days"])
    )

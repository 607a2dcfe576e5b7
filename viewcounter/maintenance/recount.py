"""Recount: rebuild the aggregates of a video, or of all videos of a partition, from raw events.

The work goes over the videos in ranges. A range is compared in one snapshot, without any lock. What differs is repaired
in small transactions, each an hour of one video, under the partition's row lock and judged anew there: the lock is
held for as long as the difference is large, not for as long as the raw events are many. It all may run twice or stop
anywhere: what is right already is left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from clusterproxy.proxy import ClusterProxy
from shardproxy.query import QueryClass
from viewcounter.events.partition import get_partition
from viewcounter.processing.errors import RecountStuck
from viewcounter.storage.audit import (
    FIRST_VIDEO,
    FOREVER,
    LAST_VIDEO,
    Difference,
    Differences,
    VideoRange,
    count_videos,
    find_minute_differences,
    find_next_videos,
    find_rollup_differences,
    find_total_differences,
    get_edges,
)
from viewcounter.storage.recount import Author, Repair, RepairScope, apply_repair, check_owner
from viewcounter.storage.snapshots import begin_snapshot

PASSES_MAX = 1000
"""Each pass repairs up to `max_differences` rows; a range that never becomes right is a fault of ours."""


@dataclass(frozen=True, slots=True)
class RecountLimits:
    """`range_videos` are compared at once; at most `max_differences` rows are repaired between two comparisons."""

    future_seconds: int
    range_videos: int
    max_differences: int


@dataclass(frozen=True, slots=True)
class RangeFound:
    """`next_first` is where the range after this one begins, None at the end."""

    videos: VideoRange
    video_count: int
    next_first: str | None


def get_range_of_video(cluster: ClusterProxy, video_id: str) -> VideoRange:
    partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    return VideoRange(partition, video_id, video_id)


def count_videos_of(cluster: ClusterProxy, partition: int) -> int:
    with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
        count = count_videos(connection, partition=partition)
        check_owner(connection, partition, epoch=_get_epoch(cluster, partition))
        return count


def find_range(cluster: ClusterProxy, videos: VideoRange, *, limits: RecountLimits) -> RangeFound:
    """The next videos of the range, no more than `range_videos`."""
    if videos.first == videos.last:
        return RangeFound(videos, video_count=1, next_first=None)
    with cluster.transaction(videos.partition, query_class=QueryClass.MAINTENANCE) as connection:
        following = find_next_videos(
            connection, partition=videos.partition, first=videos.first, limit=limits.range_videos
        )
        check_owner(connection, videos.partition, epoch=_get_epoch(cluster, videos.partition))
    if following is None or following[1] < limits.range_videos:
        return RangeFound(videos, video_count=following[1] if following else 0, next_first=None)
    last, video_count = following
    # No id holds a control character, so none lies between.
    return RangeFound(VideoRange(videos.partition, videos.first, last), video_count, next_first=last + "\x01")


def compare_range(cluster: ClusterProxy, videos: VideoRange, *, limits: RecountLimits) -> Differences:
    """Every aggregate of these videos with the raw events, in one snapshot."""
    with cluster.transaction(videos.partition, query_class=QueryClass.MAINTENANCE) as connection:
        begin_snapshot(connection)
        check_owner(connection, videos.partition, epoch=_get_epoch(cluster, videos.partition))
        future_seconds, limit = limits.future_seconds, limits.max_differences
        edges = get_edges(connection, videos.partition, future_seconds=future_seconds)
        raw_from = edges.raw_from or FOREVER
        found = find_minute_differences(
            connection, videos, start=raw_from, end=FOREVER, future_seconds=future_seconds, limit=limit
        )
        found += find_rollup_differences(
            connection,
            videos,
            edges,
            start=raw_from,
            end=FOREVER,
            raw_from=raw_from,
            future_seconds=future_seconds,
            limit=limit,
        )
        return found + find_total_differences(
            connection, videos, raw_from=raw_from, future_seconds=future_seconds, limit=limit
        )


def plan_repairs(differences: Differences) -> list[Repair]:
    """Pure. Minutes first; hours, days and totals, which are judged by them, when none of the minutes is wrong."""
    minutes = [row for row in differences.rows if row.tier == "minute"]
    rows = minutes or differences.rows
    return sorted({_get_repair(row) for row in rows}, key=lambda r: (r.video_id, r.scope, r.start or FOREVER))


def repair_range(
    cluster: ClusterProxy,
    videos: VideoRange,
    found: Differences,
    *,
    author: Author,
    limits: RecountLimits,
    keep_alive: Callable[[], None],
) -> int:
    """From what `compare_range` found until it finds nothing. Returns how many rows were corrected.

    Raises RecountStuck when that never happens, what `apply_repair` raises, and what `keep_alive`, called before
    each transaction, raises.
    """
    corrected_count = 0
    for _ in range(PASSES_MAX):
        if not found:
            return corrected_count
        for repair in plan_repairs(found):
            keep_alive()
            with cluster.transaction(repair.partition, query_class=QueryClass.MAINTENANCE) as connection:
                repaired = apply_repair(
                    connection,
                    repair,
                    epoch=_get_epoch(cluster, repair.partition),
                    author=author,
                    future_seconds=limits.future_seconds,
                )
            corrected_count += len(repaired)
        found = compare_range(cluster, videos, limits=limits)
    raise RecountStuck(f"{videos} still differs in {dict(found.counts)} rows after {PASSES_MAX} passes")


def _get_epoch(cluster: ClusterProxy, partition: int) -> int:
    return cluster.topology.assignments[partition].epoch


def whole_partition(partition: int) -> VideoRange:
    return VideoRange(partition, FIRST_VIDEO, LAST_VIDEO)


def _get_repair(row: Difference) -> Repair:
    if row.start is None:
        return Repair(row.partition, row.video_id, RepairScope.TOTAL)
    # A row that a hand has put between two minutes belongs to their hour all the same.
    hour = row.start.replace(minute=0, second=0, microsecond=0)
    if row.tier == "minute":
        return Repair(row.partition, row.video_id, RepairScope.HOUR, hour)
    return Repair(row.partition, row.video_id, RepairScope.DAY, hour.replace(hour=0))

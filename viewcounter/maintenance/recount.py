"""Recount: rebuild the aggregates of a video, or of all videos of a partition, from raw events.

Videos are processed in ranges. A range is compared in one snapshot, without a lock. Differences are repaired in small
transactions, each for an hour of one video, which lock the partition's row and compare again: the time of the lock
grows with the number of differences, not with that of raw events. Every step may run twice or stop anywhere: rows that
are correct are left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from clusterproxy.proxy import ClusterProxy
from shardproxy.query import QueryClass
from viewcounter.events.partition import get_partition
from viewcounter.maintenance.errors import RecountStuck
from viewcounter.maintenance.settings import RecountSettings
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
"""Each pass repairs up to `max_differences` rows; a range that still differs after this many is a defect of ours."""


@dataclass(frozen=True, slots=True)
class RangeFound:
    """A range to compare. `next_first`: first video of the following range, None at the end."""

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


def find_range(cluster: ClusterProxy, videos: VideoRange, *, limits: RecountSettings) -> RangeFound:
    """The next videos of the range, at most `range_videos`."""
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
    # No id contains a control character, so no id sorts between the two.
    return RangeFound(VideoRange(videos.partition, videos.first, last), video_count, next_first=last + "\x01")


def compare_range(cluster: ClusterProxy, videos: VideoRange, *, limits: RecountSettings) -> Differences:
    """Compare every aggregate of these videos with the raw events, in one snapshot."""
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
    """Pure. Minutes first; hours, days and totals are rebuilt from minutes, so only once no minute differs."""
    minutes = [row for row in differences.rows if row.tier == "minute"]
    rows = minutes or differences.rows
    return sorted({_get_repair(row) for row in rows}, key=lambda r: (r.video_id, r.scope, r.start or FOREVER))


def repair_range(
    cluster: ClusterProxy,
    videos: VideoRange,
    found: Differences,
    *,
    author: Author,
    limits: RecountSettings,
    keep_alive: Callable[[], None],
) -> int:
    """Repair `found`, the result of `compare_range`, and repeat until nothing differs. Returns the number of corrected
    rows.

    Raises RecountStuck after PASSES_MAX, the errors of `apply_repair`, and those of `keep_alive`, which is called
    before each transaction.
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
    # A row inserted by hand between two minutes still belongs to their hour.
    hour = row.start.replace(minute=0, second=0, microsecond=0)
    if row.tier == "minute":
        return Repair(row.partition, row.video_id, RepairScope.HOUR, hour)
    return Repair(row.partition, row.video_id, RepairScope.DAY, hour.replace(hour=0))

"""The audit: ledger, raw events and aggregates must agree.

Checked for each hour of a partition, in one snapshot: ledger, raw events (number and digest of ids) and aggregates are
equal; each row of a minute equals the aggregate of its raw events; rolled hours and days equal the sum of their
minutes. For a sample of videos in each run: all-time totals equal the sum of the tiers. An audit changes nothing;
`recount` repairs.
"""

import logging
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Shard
from runtime.errors import Retryable
from runtime.metrics import AUDITED_HOURS
from shardproxy.errors import ShardProxyError
from shardproxy.instance import RowConnection
from viewcounter.maintenance.settings import AuditSettings
from viewcounter.storage.audit import (
    FOREVER,
    Difference,
    Differences,
    Digested,
    Edges,
    HourSums,
    LedgerHour,
    VideoRange,
    count_unknown_ids,
    count_videos,
    digest_hour,
    find_minute_differences,
    find_next_videos,
    find_nth_video,
    find_rollup_differences,
    find_total_differences,
    read_edges,
    read_hour_sums,
)
from viewcounter.storage.raw import HOUR
from viewcounter.storage.snapshots import begin_snapshot

logger = logging.getLogger(__name__)

SHARDS_AT_ONCE = 8
_LAST_HOUR_OF_DAY = 23


class Comparison(StrEnum):
    """The two sides that a finding compares."""

    RAW_COUNT = "raw_count"
    """Number of raw events of the hour, against the ledger's `counted`."""
    RAW_DIGEST = "raw_digest"
    """Digest of the raw events' ids, against the ledger's, when the numbers are equal."""
    IDS = "ids"
    """Ids stored for de-duplication, against the raw events of their minutes."""
    AGGREGATE = "aggregate"
    """Events in the hour's aggregates, against the ledger's `counted`."""
    MINUTE = "minute"
    """Rows of minutes, against the aggregates of their raw events."""
    HOUR = "hour"
    """Rolled rows of hours, against their minutes."""
    DAY = "day"
    """Rolled rows of days, against their minutes."""
    QUARTER = "quarter"
    """Quarter hours in rolled rows of days, against their minutes."""
    TOTAL = "total"
    """All-time totals, against the sum of the tiers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`drift_events`: difference in events, never negative; 0 when only values or identities differ."""

    comparison: Comparison
    drift_events: int
    text: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class HourAudit:
    """One hour of one partition. `raw` is None where raw events are no longer complete; `tier` names the compared
    aggregates, None where retention has removed them. `unknown_ids`: number of raw events whose id is not stored, so
    that their duplicates would be counted.
    """

    partition: int
    hour: datetime
    ledger: LedgerHour
    raw: Digested | None
    tier: str | None
    aggregate_count: int | None
    unknown_ids: int
    differences: Differences

    @property
    def findings(self) -> list[Finding]:
        return [*_compare_raw(self), *_compare_aggregates(self), *group_differences(self.differences)]

    @property
    def balances(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class ClusterAudit:
    """One hour over the cluster. `missing`: partitions that were not audited, by the name of their shard."""

    hour: datetime
    partitions: tuple[HourAudit, ...]
    missing: dict[str, tuple[int, ...]]

    @property
    def balances(self) -> bool:
        return not self.missing and all(audit.balances for audit in self.partitions)


def plan_hours(now: datetime, *, window_seconds: int, closed_hours: int, older_hours: int) -> list[datetime]:
    """Pure: the hours closed last and some older ones, chosen in turns so that every hour of the window is audited."""
    current = now.replace(minute=0, second=0, microsecond=0)
    recent = [current - HOUR * back for back in range(1, closed_hours + 1)]
    others = range(closed_hours + 1, window_seconds // 3600 + 1)
    turn = int(now.timestamp()) // 3600 * older_hours
    picked = {others[(turn + place) % len(others)] for place in range(older_hours)} if others else set()
    return recent + [current - HOUR * back for back in sorted(picked)]


def audit_hour(
    connection: RowConnection, partitions: Collection[int], *, hour: datetime, limits: AuditSettings
) -> list[HourAudit]:
    """Audit those of the partitions that the shard holds, in one snapshot. The transaction must be new."""
    begin_snapshot(connection)
    edges = read_edges(connection, partitions, future_seconds=limits.future_seconds)
    sums = read_hour_sums(connection, edges, hour=hour)
    with_raw = {partition: own for partition, own in edges.items() if _has_raw(own, hour)}
    raw = digest_hour(connection, with_raw, hour=hour, future_seconds=limits.future_seconds) if with_raw else {}
    audits = []
    for partition, own in edges.items():
        differences = _find_differences(connection, own, partition=partition, hour=hour, limits=limits)
        own_raw = raw.get(partition)
        unknown_ids = count_unknown_ids(connection, partition, own_raw) if own_raw else 0
        audits.append(
            _build_audit(
                own, sums[partition], own_raw, differences, partition=partition, hour=hour, unknown_ids=unknown_ids
            )
        )
    AUDITED_HOURS.inc(len(audits))
    return audits


def audit_totals(connection: RowConnection, videos: VideoRange, *, limits: AuditSettings) -> list[Finding]:
    """Audit the all-time totals of these videos, in one snapshot. The transaction must be new."""
    begin_snapshot(connection)
    if not read_edges(connection, [videos.partition], future_seconds=limits.future_seconds):
        return []
    differences = find_total_differences(
        connection,
        videos,
        raw_from=FOREVER,
        future_seconds=limits.future_seconds,
        limit=limits.max_differences,
    )
    return group_differences(differences)


def find_sample(connection: RowConnection, *, partition: int, turn: int, video_count: int) -> VideoRange | None:
    """The `turn`th range of `video_count` videos, cyclic over the videos of a partition; None if it has none."""
    offset = turn * video_count % max(count_videos(connection, partition=partition), 1)
    first = find_nth_video(connection, partition=partition, offset=offset)
    if first is None:
        return None
    following = find_next_videos(connection, partition=partition, first=first, limit=video_count)
    return VideoRange(partition, first, following[0] if following else first)


def audit_cluster(
    cluster: ClusterProxy,
    *,
    hour: datetime,
    limits: AuditSettings,
    deadline_seconds: float,
    partitions: Collection[int] | None = None,
) -> ClusterAudit:
    """Audit one hour on all shards in parallel, one snapshot each. Shards that do not answer in time are `missing`."""
    topology = cluster.topology
    wanted = set(range(topology.partition_count) if partitions is None else partitions)
    by_shard = {shard: sorted(wanted.intersection(topology.get_partitions_of(shard.id))) for shard in topology.shards}
    audited = {shard: own for shard, own in by_shard.items() if own}
    deadline_at = time.monotonic() + deadline_seconds

    def audit_shard(shard: Shard) -> list[HourAudit]:
        remaining = deadline_at - time.monotonic()
        try:
            with cluster.shard_transaction(shard.id, deadline_seconds=remaining) as connection:
                return audit_hour(connection, audited[shard], hour=hour, limits=limits)
        except (ShardProxyError, ClusterProxyError) as error:
            if not isinstance(error, Retryable):
                raise
            logger.warning("the audit of %s lacks shard %s: %s", hour, shard.name, error)
            return []

    with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="audit") as pool:
        audits = [audit for found in pool.map(audit_shard, audited) for audit in found]
    answered = {audit.partition for audit in audits}
    missing = {shard.name: tuple(p for p in own if p not in answered) for shard, own in audited.items()}
    return ClusterAudit(
        hour=hour,
        partitions=tuple(sorted(audits, key=lambda audit: audit.partition)),
        missing={name: left for name, left in missing.items() if left},
    )


def group_differences(differences: Differences) -> list[Finding]:
    """One finding for each tier."""
    by_tier: dict[str, list[Difference]] = {}
    for row in differences.rows:
        by_tier.setdefault(row.tier, []).append(row)
    return [
        Finding(
            Comparison(tier),
            sum(abs(row.event_count) for row in rows),
            f"{differences.counts[tier]} rows differ; the first: {_describe(rows[0])}",
            tuple(rows),
        )
        for tier, rows in by_tier.items()
    ]


def _describe(row: Difference) -> str:
    place = f"video {row.video_id}, event type {row.event_type_id}" + (
        f", {row.start:%Y-%m-%dT%H:%MZ}" if row.start else ""
    )
    return f"{place}: {row.found or 'no row'} instead of {row.expected or 'none'}"


def _has_raw(edges: Edges, hour: datetime) -> bool:
    return edges.raw_from is not None and edges.raw_from <= hour


def _find_differences(
    connection: RowConnection, edges: Edges, *, partition: int, hour: datetime, limits: AuditSettings
) -> Differences:
    videos, end = VideoRange(partition), hour + HOUR
    found = Differences()
    if _has_raw(edges, hour):
        found += find_minute_differences(
            connection,
            videos,
            start=hour,
            end=end,
            future_seconds=limits.future_seconds,
            limit=limits.max_differences,
        )
    # A day is compared in the audit of its last hour.
    start = hour - timedelta(hours=_LAST_HOUR_OF_DAY) if hour.hour == _LAST_HOUR_OF_DAY else hour
    return found + find_rollup_differences(
        connection,
        videos,
        edges,
        start=start,
        end=end,
        raw_from=FOREVER,
        future_seconds=limits.future_seconds,
        limit=limits.max_differences,
    )


def _build_audit(
    edges: Edges,
    sums: HourSums,
    raw: Digested | None,
    differences: Differences,
    *,
    partition: int,
    hour: datetime,
    unknown_ids: int,
) -> HourAudit:
    tier, count = None, None
    if hour >= edges.minutes_since:
        tier, count = "minute", sums.minute_count
    elif hour >= edges.hours_since:
        tier, count = "hour", sums.hour_count
    return HourAudit(partition, hour, sums.ledger, raw, tier, count, unknown_ids, differences)


def _compare_raw(audit: HourAudit) -> Iterable[Finding]:
    if audit.raw is None:
        return
    drift = audit.raw.count - audit.ledger.counted
    if drift:
        text = f"{audit.ledger.counted} counted, {audit.raw.count} raw events"
        yield Finding(Comparison.RAW_COUNT, abs(drift), text)
    elif audit.raw.digest != audit.ledger.digest:
        yield Finding(Comparison.RAW_DIGEST, 0, f"digest {audit.ledger.digest} counted, {audit.raw.digest} raw")
    if audit.unknown_ids:
        text = f"{audit.unknown_ids} raw events have no stored id: a duplicate of them would be counted"
        yield Finding(Comparison.IDS, audit.unknown_ids, text)


def _compare_aggregates(audit: HourAudit) -> Iterable[Finding]:
    if audit.aggregate_count is not None and audit.aggregate_count != audit.ledger.counted:
        drift = audit.aggregate_count - audit.ledger.counted
        text = f"{audit.ledger.counted} counted, {audit.aggregate_count} in the rows of the {audit.tier} tier"
        yield Finding(Comparison.AGGREGATE, abs(drift), text)

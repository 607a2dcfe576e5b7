"""One run of the audit over a partition: its findings are recorded and the drift metric is set."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from clusterproxy.proxy import ClusterProxy
from shardproxy.query import QueryClass
from viewcounter.maintenance.audit import Finding, HourAudit, audit_hour, audit_totals, find_sample, plan_hours
from viewcounter.maintenance.findings import (
    find_open_hours,
    has_open_totals,
    publish_drift,
    record_hour,
    record_totals,
    resolve_totals,
)
from viewcounter.maintenance.settings import AuditSettings
from viewcounter.storage.audit import VideoRange

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionAudit:
    """Result of one run. `totals`: findings about all-time totals."""

    partition: int
    hours: Sequence[HourAudit]
    totals: Sequence[Finding]

    @property
    def balances(self) -> bool:
        return not self.totals and all(hour.balances for hour in self.hours)


def run_audit(cluster: ClusterProxy, partition: int, *, settings: AuditSettings, now: datetime) -> PartitionAudit:
    """The hourly audit of one partition: the planned hours, hours with open findings, and all-time totals."""
    since = now - timedelta(seconds=settings.window_seconds)
    planned = plan_hours(
        now,
        window_seconds=settings.window_seconds,
        closed_hours=settings.closed_hours,
        older_hours=settings.older_hours,
    )
    hours = {*planned, *find_open_hours(partition, since=since)}
    is_whole = has_open_totals(partition)
    turn = int(now.timestamp() / settings.interval_seconds)
    return audit_partition(
        cluster, partition, hours=sorted(hours), settings=settings, now=now, totals_turn=None if is_whole else turn
    )


def audit_partition(
    cluster: ClusterProxy,
    partition: int,
    *,
    hours: Iterable[datetime],
    settings: AuditSettings,
    now: datetime,
    totals_turn: int | None = None,
) -> PartitionAudit:
    """Audit each hour in a snapshot of its own, and the totals of every video or of the sample number `totals_turn`.

    Findings are recorded, and resolved where both sides are equal again. Raises the errors of the shard.
    """
    audits = []
    for hour in hours:
        with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
            found = audit_hour(connection, [partition], hour=hour, limits=settings)
        for audit in found:
            record_hour(audit, now=now)
            _log(partition, f"{hour:%Y-%m-%dT%H:%MZ}", audit.findings)
        audits += found
    totals = _audit_totals(cluster, partition, settings=settings, turn=totals_turn)
    record_totals(totals, partition=partition, now=now)
    if totals_turn is None and not totals:
        resolve_totals(partition, now=now)
    _log(partition, "all time", totals)
    publish_drift()
    return PartitionAudit(partition, audits, totals)


def _audit_totals(cluster: ClusterProxy, partition: int, *, settings: AuditSettings, turn: int | None) -> list[Finding]:
    videos: VideoRange | None = VideoRange(partition)
    if turn is not None:
        with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
            videos = find_sample(connection, partition=partition, turn=turn, video_count=settings.total_videos)
    if videos is None:
        return []
    with cluster.transaction(partition, query_class=QueryClass.MAINTENANCE) as connection:
        return audit_totals(connection, videos, limits=settings)


def _log(partition: int, period: str, findings: Sequence[Finding]) -> None:
    for finding in findings:
        logger.error("audit of partition %d, %s: %s: %s", partition, period, finding.comparison, finding.text)

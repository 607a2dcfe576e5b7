"""Reads the report of the config service on each shard: its condition, its running failover and moves, the kept log."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.utils import timezone

from configservice.errors import ControlDatabaseUnavailable
from configservice.failover.kept_log import LogShare
from configservice.failover.records import Condition, Failover, ShardCondition
from configservice.failover.requests import LEADER_SILENCE_SECONDS
from configservice.models import Move, Shard
from configservice.moves.states import FINISHED


@dataclass(frozen=True, slots=True)
class OpenFailover:
    """A running change of primary. `candidate` is empty until one is chosen."""

    kind: str
    state: str
    old_primary: str
    candidate: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ShardReport:
    """`condition` is None if no config service has refreshed it lately: an outdated condition is not reported.

    `log_kept_for`: absent replicas that the event log is kept for; `log_share`: log memory used, None if unknown.
    `moving_out` and `moving_in`: numbers of partitions whose move is unfinished.
    """

    shard: str
    condition: Condition | None
    detail: str = ""
    since: datetime | None = None
    failover: OpenFailover | None = None
    moving_out: int = 0
    moving_in: int = 0
    log_kept_for: tuple[str, ...] = ()
    log_share: LogShare | None = None


def read_reports() -> dict[str, ShardReport]:
    """Reports of all shards by name. Raises ControlDatabaseUnavailable."""
    try:
        moves = list(Move.objects.exclude(state__in=FINISHED).values_list("source_id", "target_id"))
        failovers = {row.shard_id: row for row in Failover.objects.filter(finished_at__isnull=True)}
        conditions = {row.shard_id: row for row in ShardCondition.objects.all()}
        shards = list(Shard.objects.values_list("id", "name"))
    except DatabaseError as error:
        raise ControlDatabaseUnavailable(str(error)) from error
    moving_out, moving_in = Counter(source for source, _ in moves), Counter(target for _, target in moves)
    return {
        name: build_report(
            name,
            conditions.get(shard_id),
            failovers.get(shard_id),
            moving_out=moving_out[shard_id],
            moving_in=moving_in[shard_id],
            now=timezone.now(),
        )
        for shard_id, name in shards
    }


def build_report(
    shard: str,
    row: ShardCondition | None,
    failover: Failover | None,
    *,
    moving_out: int = 0,
    moving_in: int = 0,
    now: datetime,
) -> ShardReport:
    """Pure."""
    is_current = row is not None and now - row.seen_at <= timedelta(seconds=LEADER_SILENCE_SECONDS)
    return ShardReport(
        shard=shard,
        condition=Condition(row.condition) if row is not None and is_current else None,
        detail=row.detail if row is not None and is_current else "",
        since=row.since if row is not None and is_current else None,
        failover=None
        if failover is None
        else OpenFailover(
            kind=failover.kind,
            state=failover.state,
            old_primary=failover.old_primary,
            candidate=failover.candidate,
            requested_at=failover.requested_at,
        ),
        moving_out=moving_out,
        moving_in=moving_in,
        log_kept_for=tuple(row.log_kept_for or ()) if row is not None and is_current else (),
        log_share=_get_share(row) if row is not None and is_current else None,
    )


def _get_share(row: ShardCondition) -> LogShare | None:
    if row.log_kept_bytes is None or row.log_share_bytes is None:
        return None
    return LogShare(row.log_kept_bytes, row.log_share_bytes, row.log_full_seconds)


def has_config_service(reports: Iterable[ShardReport]) -> bool:
    """Whether a config service reports on all shards: without one a dead primary is not replaced."""
    return all(report.condition is not None for report in reports)

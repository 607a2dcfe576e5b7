"""What the config service has written down of each shard, for whoever asks: its condition, what is being done to it."""

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
    """A change of primary that has not ended. `candidate` is empty while nobody is chosen."""

    kind: str
    state: str
    old_primary: str
    candidate: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ShardReport:
    """`condition` None: no config service has looked at the shard lately, so nothing old is told as if it were new.

    `log_kept_for`: replicas that are away, which the event log is kept for; `log_share` what that takes, None: unknown.
    `moving_out` and `moving_in` count partitions whose move has not ended.
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
    """Of every shard, by name. Raises ControlDatabaseUnavailable."""
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
    said: ShardCondition | None,
    failover: Failover | None,
    *,
    moving_out: int = 0,
    moving_in: int = 0,
    now: datetime,
) -> ShardReport:
    """Pure."""
    is_current = said is not None and now - said.seen_at <= timedelta(seconds=LEADER_SILENCE_SECONDS)
    return ShardReport(
        shard=shard,
        condition=Condition(said.condition) if said is not None and is_current else None,
        detail=said.detail if said is not None and is_current else "",
        since=said.since if said is not None and is_current else None,
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
        log_kept_for=tuple(said.log_kept_for or ()) if said is not None and is_current else (),
        log_share=_get_share(said) if said is not None and is_current else None,
    )


def _get_share(said: ShardCondition) -> LogShare | None:
    if said.log_kept_bytes is None or said.log_share_bytes is None:
        return None
    return LogShare(said.log_kept_bytes, said.log_share_bytes, said.log_full_seconds)


def has_config_service(reports: Iterable[ShardReport]) -> bool:
    """Whether a config service looks after the shards: without one a dead primary is not replaced."""
    return all(report.condition is not None for report in reports)

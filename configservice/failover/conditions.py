"""Derives the condition of each shard and, on the leader, records it in the control database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from configservice.failover.kept_log import LogShare
from configservice.failover.lease import fence_change
from configservice.failover.records import TEXT_MAX_LENGTH, Condition, ShardCondition
from configservice.failover.roles import find_state
from configservice.monitoring.failure_detection import PrimaryVerdict
from configservice.monitoring.probe_result import ProbeResult
from configservice.topology.model import Shard

REFRESH_SECONDS = 5.0


def derive_condition(
    shard: Shard, probes: Mapping[str, ProbeResult], verdict: PrimaryVerdict, *, is_changing: bool
) -> tuple[Condition, str]:
    """The condition with a reason for people. Pure."""
    primary = shard.primary
    state = None if primary is None else find_state(probes, primary)
    if is_changing:
        return Condition.CHANGING, verdict.why
    if primary is None or verdict.is_dead or (state is not None and (state.in_recovery or state.is_read_only)):
        why = verdict.why if state is None else "its primary takes no writes"
        return Condition.WITHOUT_PRIMARY, why
    probe = probes.get(primary.name)
    if probe is None or probe.failure_count:
        return Condition.SUSPECT, verdict.why
    standbys = [s for i in shard.standbys if i.promotable and (s := find_state(probes, i)) and s.is_receiving]
    if not standbys:
        return Condition.WITHOUT_REPLICA, "no promotable replica streams"
    return Condition.WELL, ""


@dataclass(frozen=True, slots=True)
class LogKept:
    """Names of absent replicas that the event log is kept for; `share` is None if unknown or without a memory limit."""

    replicas: tuple[str, ...]
    share: LogShare | None


class ConditionRecorder:
    """Records conditions when they change, and at an interval, which shows that a config service is leading."""

    def __init__(self) -> None:
        self._recorded: dict[int, tuple[Condition, str]] = {}
        self._refresh_at = timezone.now()

    def record(
        self, conditions: Mapping[int, tuple[Condition, str]], kept: Mapping[int, LogKept], *, leader_generation: int
    ) -> None:
        """Both by shard id; `kept` only for shards with an absent replica. Raises LeaseLost and DatabaseError."""
        now = timezone.now()
        is_due = now >= self._refresh_at
        changed = {shard_id: c for shard_id, c in conditions.items() if is_due or self._recorded.get(shard_id) != c}
        if not changed:
            return
        with transaction.atomic():
            fence_change(leader_generation)
            for shard_id, (condition, detail) in changed.items():
                known = ShardCondition.objects.filter(pk=shard_id).first()
                is_old = known is not None and known.condition == condition
                ShardCondition.objects.update_or_create(
                    pk=shard_id,
                    defaults={
                        "condition": condition,
                        "detail": detail[:TEXT_MAX_LENGTH],
                        "since": known.since if is_old and known is not None else now,
                        "seen_at": now,
                        **_build_log_columns(kept.get(shard_id)),
                    },
                )
        self._recorded.update(changed)
        if is_due:
            self._refresh_at = now + timedelta(seconds=REFRESH_SECONDS)


def _build_log_columns(kept: LogKept | None) -> dict[str, Any]:
    share = None if kept is None else kept.share
    return {
        "log_kept_for": None if kept is None else list(kept.replicas),
        "log_kept_bytes": None if share is None else share.kept_bytes,
        "log_share_bytes": None if share is None else share.share_bytes,
        "log_full_seconds": None if share is None else share.full_seconds,
    }

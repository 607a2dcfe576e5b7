"""Absence of replicas: how long the event log is kept for an absent replica, and the record of its absence.

The log is trimmed only below the positions that every promotable copy has applied, so a replica that never comes back
would fill it. The start of an absence is stored in the control database: it must survive the process that detected it.
"""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from configservice.failover.lease import fence_change
from configservice.models import Instance, RoleChoice
from configservice.monitoring.probe_result import InstanceState, ProbeResult
from configservice.topology.model import Instance as TopologyInstance
from configservice.topology.model import Role
from configservice.topology.publication import lock_topology, publish

ABSENCE_RECORDED_SECONDS = 10.0
"""A shorter silence is not recorded."""


def holds_event_log(instance: TopologyInstance) -> bool:
    """Whether the instance is a replica that the event log is kept for. Pure."""
    return instance.role is Role.REPLICA and instance.promotable and not instance.drained


def is_absent(state: InstanceState | None, probe: ProbeResult | None, *, now: float) -> bool | None:
    """Whether a replica is absent: silent, or answering without receiving WAL. Pure.

    None while that is unknown, and for an instance that has left recovery, which `roles` handles.
    """
    if state is not None:
        return None if not state.in_recovery else not state.is_receiving
    if probe is None or not probe.failure_count:
        return None
    silent_since = probe.watched_since if probe.answered_at is None else probe.answered_at
    return True if now - silent_since >= ABSENCE_RECORDED_SECONDS else None


def record_absence(name: str, *, now: datetime, leader_generation: int) -> None:
    """An earlier start of the absence is kept. Raises LeaseLost."""
    with transaction.atomic():
        fence_change(leader_generation)
        Instance.objects.filter(name=name, away_since__isnull=True).update(away_since=now)


def record_return(name: str, *, leader_generation: int) -> None:
    """Raises LeaseLost."""
    with transaction.atomic():
        fence_change(leader_generation)
        Instance.objects.filter(name=name).update(away_since=None)


def release_log_hold(name: str, *, why: str, actor: str, leader_generation: int) -> None:
    """Excludes a replica: it is not promotable, and the event log is no longer kept for it.

    Does nothing if its role has changed meanwhile. Raises LeaseLost.
    """
    with transaction.atomic():
        lock_topology()
        fence_change(leader_generation)
        rows = Instance.objects.filter(name=name, role=RoleChoice.REPLICA, promotable=True)
        if rows.update(promotable=False, excluded_at=timezone.now()):
            publish(reason=f"{name} is excluded from promotion: {why}", actor=actor)


def reinstate(name: str, *, actor: str, leader_generation: int) -> None:
    """Makes an excluded replica promotable again. Raises LeaseLost."""
    with transaction.atomic():
        lock_topology()
        fence_change(leader_generation)
        rows = Instance.objects.filter(name=name, excluded_at__isnull=False)
        if rows.update(promotable=True, excluded_at=None, away_since=None):
            publish(reason=f"{name} is promotable again: it has caught up", actor=actor)

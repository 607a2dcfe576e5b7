"""How long a replica may be away before the event log is no longer kept for it, and what is written down of that.

The log is trimmed only below what every promotable copy has applied, so one that never comes back would fill it. The
instant since when an instance is away stands in the control database: it must outlast the process that noticed.
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

AWAY_NOTED_SECONDS = 10.0
"""Silence shorter than this is not worth a note."""


def is_waited_for(instance: TopologyInstance) -> bool:
    """Whether the event log is kept for it as a replica. Pure."""
    return instance.role is Role.REPLICA and instance.promotable and not instance.drained


def is_away(state: InstanceState | None, sighting: ProbeResult | None, *, now: float) -> bool | None:
    """Pure. One that answers and receives nothing falls behind as one that is silent does.

    None where it cannot be said yet, and of one that has left recovery, which others look after.
    """
    if state is not None:
        return None if not state.in_recovery else not state.is_receiving
    if sighting is None or not sighting.failure_count:
        return None
    silent_since = sighting.watched_since if sighting.answered_at is None else sighting.answered_at
    return True if now - silent_since >= AWAY_NOTED_SECONDS else None


def record_absence(name: str, *, now: datetime, generation: int) -> None:
    """Keeps an earlier instant. Raises LeaseLost."""
    with transaction.atomic():
        fence_change(generation)
        Instance.objects.filter(name=name, away_since__isnull=True).update(away_since=now)


def record_return(name: str, *, generation: int) -> None:
    """Raises LeaseLost."""
    with transaction.atomic():
        fence_change(generation)
        Instance.objects.filter(name=name).update(away_since=None)


def strike_off(name: str, *, why: str, actor: str, generation: int) -> None:
    """Not promotable from here on. One whose role has changed meanwhile is left alone. Raises LeaseLost."""
    with transaction.atomic():
        lock_topology()
        fence_change(generation)
        rows = Instance.objects.filter(name=name, role=RoleChoice.REPLICA, promotable=True)
        if rows.update(promotable=False, struck_off_at=timezone.now()):
            publish(reason=f"{name} is struck off: {why}", actor=actor)


def reinstate(name: str, *, actor: str, generation: int) -> None:
    """Raises LeaseLost."""
    with transaction.atomic():
        lock_topology()
        fence_change(generation)
        rows = Instance.objects.filter(name=name, struck_off_at__isnull=False)
        if rows.update(promotable=True, struck_off_at=None, away_since=None):
            publish(reason=f"{name} is promotable again: it has caught up", actor=actor)

"""The record of a change of primary in the control database. Every write is fenced against former leaders."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from configservice.failover.lease import fence_change
from configservice.failover.records import TEXT_MAX_LENGTH, Failover
from configservice.failover.state import FINISHED, FailoverEvent, FailoverKind, FailoverState, transition
from configservice.failover.view import FailoverAttempt
from configservice.models import Instance, RoleChoice, Shard
from configservice.topology.model import Role
from configservice.topology.publication import lock_topology, publish

_LOSS_TO_ACCEPT = (
    ". Partitions whose missing entries the event log no longer holds have stopped: `manage.py accept_log_loss` lists "
    "them and lets them continue"
)


def find_open(shard_id: int) -> Failover | None:
    row: Failover | None = Failover.objects.filter(shard_id=shard_id, finished_at__isnull=True).first()
    return row


def begin(
    shard_id: int, *, kind: FailoverKind, old_primary: str, reason: str, actor: str, names: str, leader_generation: int
) -> Failover | None:
    """A new record in state `started`; None if the shard has an open one, or its primary has changed meanwhile.

    `names`: synchronous_standby_names of the old primary. Raises LeaseLost.
    """
    now = timezone.now()
    with transaction.atomic():
        lock_topology()
        fence_change(leader_generation)
        primary = Instance.objects.filter(shard_id=shard_id, role=RoleChoice.PRIMARY).first()
        if find_open(shard_id) is not None or primary is None or primary.name != old_primary:
            return None
        row: Failover = Failover.objects.create(
            shard_id=shard_id,
            kind=kind,
            state=FailoverState.STARTED,
            reason=reason[:TEXT_MAX_LENGTH],
            actor=actor,
            old_primary=old_primary,
            synchronous_standby_names=names,
            requested_at=now,
            started_at=now,
        )
    return row


def record_event(row: Failover, event: FailoverEvent, *, leader_generation: int, **changes: Any) -> None:
    """Applies `event` to the record and sets `changes`. Raises LeaseLost, ValueError for an invalid transition."""
    state = transition(FailoverState(row.state), event)
    with transaction.atomic():
        fence_change(leader_generation)
        _save(row, state=state, **changes)


def record_waiting(row: Failover, why: str, *, leader_generation: int) -> None:
    if row.message != why[:TEXT_MAX_LENGTH]:
        with transaction.atomic():
            fence_change(leader_generation)
            _save(row, message=why[:TEXT_MAX_LENGTH])


def publish_roles(row: Failover, *, term: int, leader_generation: int, write_pause_ms: int | None) -> int:
    """In one transaction: makes the candidate primary, fences the old one, raises the shard term, ends the record.

    Returns the epoch."""
    state = transition(FailoverState(row.state), FailoverEvent.PUBLISH)
    with transaction.atomic():
        lock_topology()
        fence_change(leader_generation)
        Instance.objects.filter(shard_id=row.shard_id, role=RoleChoice.PRIMARY).exclude(name=row.candidate).update(
            role=RoleChoice.FENCED
        )
        # The candidate may have been drained or excluded since it was chosen, or promoted by hand.
        Instance.objects.filter(shard_id=row.shard_id, name=row.candidate).update(
            role=RoleChoice.PRIMARY, drained=False, promotable=True, excluded_at=None, away_since=None
        )
        Shard.objects.filter(pk=row.shard_id).update(term=term)
        topology = publish(reason=f"{row.kind} failover: {row.reason}", actor=row.actor)
        _save(
            row,
            state=state,
            epoch=topology.epoch,
            write_pause_ms=write_pause_ms,
            message=f"{row.candidate} is primary, shard term {term}{_LOSS_TO_ACCEPT if row.accepts_loss else ''}",
        )
    return topology.epoch


def abandon_all(*, message: str) -> int:
    """Ends all open records, for `init_cluster --set-roles` while no config service runs. Returns how many."""
    open_ones = Failover.objects.filter(finished_at__isnull=True)
    return int(open_ones.update(state=FailoverState.UNDONE, finished_at=timezone.now(), message=message))


def change_role(shard_id: int, name: str, role: Role, *, reason: str, actor: str, leader_generation: int) -> None:
    """Sets the role of an instance that is not primary to fenced or replica. Raises LeaseLost."""
    with transaction.atomic():
        lock_topology()
        fence_change(leader_generation)
        rows = Instance.objects.filter(shard_id=shard_id, name=name).exclude(role=RoleChoice.PRIMARY)
        if rows.update(role=role.value):
            publish(reason=reason, actor=actor)


def read_attempt(row: Failover, *, now: datetime, is_promotion_sent: bool) -> FailoverAttempt:
    return FailoverAttempt(
        kind=FailoverKind(row.kind),
        state=FailoverState(row.state),
        old_primary=row.old_primary,
        target=row.target,
        candidate=row.candidate,
        term=row.term,
        started_seconds=_get_age(row.started_at, now),
        chosen_seconds=_get_age(row.chosen_at, now),
        is_promotion_sent=is_promotion_sent,
        accepts_loss=row.accepts_loss,
    )


def _get_age(instant: datetime | None, now: datetime) -> float:
    return 0.0 if instant is None else (now - instant).total_seconds()


def _save(row: Failover, **changes: Any) -> None:
    if FailoverState(changes.get("state", row.state)) in FINISHED:
        changes["finished_at"] = timezone.now()
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))

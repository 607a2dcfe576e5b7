"""The record of a change of primary in the control database. Every write is fenced: a former leader writes nothing."""

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
    ". Partitions of which the event log no longer holds all that it lacks have stopped: `manage.py accept_log_loss` "
    "names them and lets them go on"
)


def find_open(shard_id: int) -> Failover | None:
    row: Failover | None = Failover.objects.filter(shard_id=shard_id, finished_at__isnull=True).first()
    return row


def begin(
    shard_id: int, *, kind: FailoverKind, old_primary: str, reason: str, actor: str, names: str, generation: int
) -> Failover | None:
    """A new record in state `started`; None if the shard has one open already, or its primary has changed meanwhile.

    `names` is the old primary's synchronous_standby_names. Raises LeaseLost.
    """
    now = timezone.now()
    with transaction.atomic():
        lock_topology()
        fence_change(generation)
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


def note(row: Failover, event: FailoverEvent, *, generation: int, **changes: Any) -> None:
    """Moves the record by `event` and sets `changes`. Raises LeaseLost, ValueError for an event out of place."""
    state = transition(FailoverState(row.state), event)
    with transaction.atomic():
        fence_change(generation)
        _save(row, state=state, **changes)


def note_waiting(row: Failover, why: str, *, generation: int) -> None:
    if row.message != why[:TEXT_MAX_LENGTH]:
        with transaction.atomic():
            fence_change(generation)
            _save(row, message=why[:TEXT_MAX_LENGTH])


def publish_roles(row: Failover, *, term: int, generation: int, write_pause_ms: int | None) -> int:
    """The candidate primary, the old one fenced, the term raised, the record done, as one. Returns the epoch."""
    state = transition(FailoverState(row.state), FailoverEvent.PUBLISH)
    with transaction.atomic():
        lock_topology()
        fence_change(generation)
        Instance.objects.filter(shard_id=row.shard_id, role=RoleChoice.PRIMARY).exclude(name=row.candidate).update(
            role=RoleChoice.FENCED
        )
        # It may have been drained or struck off since it was chosen, or promoted all the same.
        Instance.objects.filter(shard_id=row.shard_id, name=row.candidate).update(
            role=RoleChoice.PRIMARY, drained=False, promotable=True, struck_off_at=None, away_since=None
        )
        Shard.objects.filter(pk=row.shard_id).update(term=term)
        topology = publish(reason=f"{row.kind} failover: {row.reason}", actor=row.actor)
        _save(
            row,
            state=state,
            epoch=topology.epoch,
            write_pause_ms=write_pause_ms,
            message=f"{row.candidate} is primary, term {term}{_LOSS_TO_ACCEPT if row.accepts_loss else ''}",
        )
    return topology.epoch


def abandon_all(*, message: str) -> int:
    """For whoever sets the roles anew while no config service runs. Returns how many were open."""
    open_ones = Failover.objects.filter(finished_at__isnull=True)
    return int(open_ones.update(state=FailoverState.UNDONE, finished_at=timezone.now(), message=message))


def change_role(shard_id: int, name: str, role: Role, *, reason: str, actor: str, generation: int) -> None:
    """Of an instance that is not primary: fenced or replica. Raises LeaseLost."""
    with transaction.atomic():
        lock_topology()
        fence_change(generation)
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

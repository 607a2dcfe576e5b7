"""How a failover or switchover is asked for, from any machine: a record that the leading config service carries out."""

import time

from django.db import IntegrityError, transaction
from django.utils import timezone

from configservice.errors import FailoverRefused, FailoverUnderWay, NoLeader, UnknownShard
from configservice.failover.records import TEXT_MAX_LENGTH, Failover, Leadership
from configservice.failover.state import FailoverKind, FailoverState
from configservice.models import ACTOR_MAX_LENGTH, Instance, RoleChoice, Shard

POLL_SECONDS = 0.05
LEADER_SILENCE_SECONDS = 15.0
"""Longer than a change of leader takes."""


def request_failover(*, shard: str, target: str = "", reason: str, actor: str, accepts_loss: bool = False) -> Failover:
    """Another primary now, whether or not this one answers; `target` or, empty, the most advanced replica.

    `accepts_loss`: also a target that is struck off, or lacks entries that the event log no longer holds. Returns the
    record, still `requested`. Raises UnknownShard, FailoverRefused, FailoverUnderWay, NoLeader.
    """
    if accepts_loss and not target:
        raise FailoverRefused("a loss is accepted of one replica: name it")
    return _request(
        FailoverKind.FORCED, shard=shard, target=target, reason=reason, actor=actor, accepts_loss=accepts_loss
    )


def request_switchover(*, shard: str, target: str = "", reason: str, actor: str) -> Failover:
    """Another primary without a failed request, while this one is well. As `request_failover`."""
    return _request(FailoverKind.SWITCHOVER, shard=shard, target=target, reason=reason, actor=actor)


def await_outcome(failover: Failover, *, within_seconds: float) -> Failover:
    """The finished record. Raises FailoverRefused if it was refused or undone, NoLeader if nobody began it in time.

    One that has begun is waited for `within_seconds`; then it is returned as it is, to be looked at again.
    """
    deadline = time.monotonic() + within_seconds
    while failover.finished_at is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        failover.refresh_from_db()
    if failover.state == FailoverState.REQUESTED:
        raise NoLeader(f"no config service has begun with it within {within_seconds:g} s; it is still asked for")
    if failover.state in (FailoverState.REFUSED, FailoverState.UNDONE):
        raise FailoverRefused(failover.message)
    return failover


def find_shard(name: str) -> Shard:
    """Raises UnknownShard."""
    shard: Shard | None = Shard.objects.filter(name=name).first()
    if shard is None:
        known = ", ".join(Shard.objects.order_by("id").values_list("name", flat=True))
        raise UnknownShard(f"there is no shard {name!r}; there are: {known or 'none'}")
    return shard


def check_leader() -> None:
    """Raises NoLeader unless a config service has renewed its lease lately."""
    leadership = Leadership.objects.first()
    if leadership is None or (timezone.now() - leadership.renewed_at).total_seconds() > LEADER_SILENCE_SECONDS:
        raise NoLeader("no config service leads; start `manage.py run_configservice`")


def _request(
    kind: FailoverKind, *, shard: str, target: str, reason: str, actor: str, accepts_loss: bool = False
) -> Failover:
    row = find_shard(shard)
    if target and not Instance.objects.filter(shard=row, name=target).exists():
        known = ", ".join(Instance.objects.filter(shard=row).order_by("name").values_list("name", flat=True))
        raise FailoverRefused(f"{target} is no instance of {shard}; there are: {known}")
    primary = Instance.objects.filter(shard=row, role=RoleChoice.PRIMARY).first()
    if primary is not None and target == primary.name:
        raise FailoverRefused(f"{target} is the primary of {shard}")
    check_leader()
    try:
        with transaction.atomic():
            failover: Failover = Failover.objects.create(
                shard=row,
                kind=kind,
                state=FailoverState.REQUESTED,
                reason=reason[:TEXT_MAX_LENGTH],
                actor=actor[:ACTOR_MAX_LENGTH],
                target=target,
                accepts_loss=accepts_loss,
                old_primary="" if primary is None else primary.name,
                requested_at=timezone.now(),
            )
    except IntegrityError as error:
        raise FailoverUnderWay(f"{shard} has a change of primary under way") from error
    return failover

"""Requests for a failover or switchover, from any machine: a record that the leading config service carries out."""

import time

from django.db import IntegrityError, transaction
from django.utils import timezone

from configservice.errors import FailoverRefused, FailoverUnderWay, NoLeader, UnknownShard
from configservice.failover.records import TEXT_MAX_LENGTH, Failover
from configservice.failover.state import FailoverKind, FailoverState
from configservice.models import ACTOR_MAX_LENGTH, Instance, Leadership, RoleChoice, Shard

POLL_SECONDS = 0.05
LEADER_SILENCE_SECONDS = 15.0
"""Without a renewal of the lease for this long, no config service leads. Longer than a change of leader takes."""


def request_failover(*, shard: str, target: str = "", reason: str, actor: str, accepts_loss: bool = False) -> Failover:
    """Requests another primary now, whether or not the present one answers.

    The new primary is `target` or, if empty, the most advanced replica. `accepts_loss`: also a target that is excluded
    or lacks entries that the event log no longer holds. Returns the record in state `requested`. Raises UnknownShard,
    FailoverRefused, FailoverUnderWay, NoLeader.
    """
    if accepts_loss and not target:
        raise FailoverRefused("accepting a loss needs a target: name the replica")
    return _request(
        FailoverKind.FORCED, shard=shard, target=target, reason=reason, actor=actor, accepts_loss=accepts_loss
    )


def request_switchover(*, shard: str, target: str = "", reason: str, actor: str) -> Failover:
    """Requests another primary while the present one is healthy, without failing requests. Like `request_failover`."""
    return _request(FailoverKind.SWITCHOVER, shard=shard, target=target, reason=reason, actor=actor)


def await_outcome(failover: Failover, *, within_seconds: float) -> Failover:
    """The finished record, or the unfinished one after `within_seconds` if it has been started.

    Raises FailoverRefused if it was refused or undone, NoLeader if no config service started it in time.
    """
    deadline = time.monotonic() + within_seconds
    while failover.finished_at is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        failover.refresh_from_db()
    if failover.state == FailoverState.REQUESTED:
        raise NoLeader(f"no config service has started the request within {within_seconds:g} s; it stays requested")
    if failover.state in (FailoverState.REFUSED, FailoverState.UNDONE):
        raise FailoverRefused(failover.message)
    return failover


def find_shard(name: str) -> Shard:
    """Raises UnknownShard."""
    shard: Shard | None = Shard.objects.filter(name=name).first()
    if shard is None:
        known = ", ".join(Shard.objects.order_by("id").values_list("name", flat=True))
        raise UnknownShard(f"there is no shard {name!r}; known shards: {known or 'none'}")
    return shard


def check_leader() -> None:
    """Raises NoLeader unless a config service has renewed the lease within LEADER_SILENCE_SECONDS."""
    leadership = Leadership.objects.first()
    if leadership is None or (timezone.now() - leadership.renewed_at).total_seconds() > LEADER_SILENCE_SECONDS:
        raise NoLeader("no config service leads; start `manage.py run_configservice`")


def _request(
    kind: FailoverKind, *, shard: str, target: str, reason: str, actor: str, accepts_loss: bool = False
) -> Failover:
    row = find_shard(shard)
    if target and not Instance.objects.filter(shard=row, name=target).exists():
        known = ", ".join(Instance.objects.filter(shard=row).order_by("name").values_list("name", flat=True))
        raise FailoverRefused(f"{target} is not an instance of {shard}; known instances: {known}")
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
        raise FailoverUnderWay(f"a change of primary of {shard} is already running") from error
    return failover

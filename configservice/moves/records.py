"""Records of partition moves: plan, claim, advance, flip, abort. `viewcounter.moves` copies the rows.

A mover must hold the lease of a move to work on it. A step counts when it is recorded here, by compare-and-set on state
and lease, so a replaced mover cannot record anything. The decision (`flip`) is one transaction with the change of the
topology.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Max, Q, QuerySet
from django.utils import timezone

from configservice.errors import MoveNotPossible, MoveTaken, UnknownMove
from configservice.models import Move, PartitionAssignment, RoleChoice, Shard
from configservice.moves.states import ABORTABLE, FINISHED, MoveEvent, MoveState, transition
from configservice.topology.publication import lock_topology, publish

_INSTANTS = {
    MoveEvent.STARTED: "started_at",
    MoveEvent.FLIPPED: "flipped_at",
    MoveEvent.CLEANED: "finished_at",
    MoveEvent.RESTORED: "finished_at",
}


def plan_moves(targets: Mapping[int, int], *, actor: str, reason: str = "") -> list[Move]:
    """Plans a move of each partition to the given shard id; all or none. Raises MoveNotPossible with the partition."""
    with transaction.atomic():
        lock_topology()
        shards = {shard.id: shard for shard in Shard.objects.prefetch_related("instances")}
        owned = {row.partition: row for row in PartitionAssignment.objects.filter(partition__in=targets)}
        moving = set(Move.objects.exclude(state__in=FINISHED).values_list("partition", flat=True))
        for partition, shard_id in targets.items():
            _check_target(partition, owned.get(partition), shards.get(shard_id), is_moving=partition in moving)
        used = dict(
            Move.objects.filter(partition__in=targets)
            .order_by()
            .values_list("partition")
            .annotate(last=Max("target_epoch"))
        )
        moves = [
            Move(
                partition=partition,
                source_id=owned[partition].shard_id,
                target_id=shard_id,
                source_epoch=owned[partition].epoch,
                target_epoch=max(owned[partition].epoch, used.get(partition, 0)) + 1,
                actor=actor[:150],
                reason=reason[:200],
            )
            for partition, shard_id in targets.items()
        ]
        return list(Move.objects.bulk_create(moves))


def _check_target(
    partition: int, assignment: PartitionAssignment | None, target: Shard | None, *, is_moving: bool
) -> None:
    if assignment is None:
        raise MoveNotPossible(f"there is no partition {partition}")
    if target is None:
        raise MoveNotPossible(f"partition {partition}: the target shard does not exist")
    if assignment.shard_id == target.id:
        raise MoveNotPossible(f"partition {partition} is on {target} already")
    if is_moving:
        raise MoveNotPossible(f"partition {partition} is being moved already")
    if not any(instance.role == RoleChoice.PRIMARY for instance in target.instances.all()):
        raise MoveNotPossible(f"partition {partition}: {target} has no primary")


def get_move(move_id: int) -> Move:
    """Raises UnknownMove."""
    move: Move | None = _moves().filter(pk=move_id).first()
    if move is None:
        raise UnknownMove(f"there is no move {move_id}")
    return move


def list_moves(*, limit: int, before_id: int | None = None) -> list[Move]:
    """Newest first."""
    moves = _moves() if before_id is None else _moves().filter(id__lt=before_id)
    return list(moves.order_by("-id")[:limit])


def list_unfinished() -> list[Move]:
    """Oldest request first."""
    return list(_moves().exclude(state__in=FINISHED).order_by("id"))


def count_unfinished() -> dict[str, int]:
    """Counts by state, without states that have no move."""
    counted = Move.objects.exclude(state__in=FINISHED).order_by().values_list("state").annotate(count=Count("id"))
    return dict(counted)


def find_free(*, states: Collection[MoveState], now: datetime) -> list[int]:
    """Ids of moves in these states without a valid lease, oldest first."""
    free = _filter_free(Move.objects.filter(state__in=states), now)
    return list(free.order_by("id").values_list("pk", flat=True))


def claim(move_id: int, *, owner: str, lease_seconds: float) -> Move | None:
    """Takes the lease of a move. None if the move is finished or another mover has its lease.

    `claims` of the returned move is larger than that of all earlier movers.
    """
    now = timezone.now()
    free = _filter_free(Move.objects.filter(pk=move_id).exclude(state__in=FINISHED), now)
    if not free.update(lease_owner=owner, lease_until=now + timedelta(seconds=lease_seconds), claims=F("claims") + 1):
        return None
    move = get_move(move_id)
    # A process paused between the two statements for longer than its lease would read another mover's claim.
    return move if move.lease_owner == owner else None


def renew(move: Move, *, lease_seconds: float, rows_copied: int) -> None:
    """Renews the lease. Raises MoveTaken if this mover has lost it, or the move is in another state."""
    ours = _filter_ours(move)
    if not ours.update(lease_until=timezone.now() + timedelta(seconds=lease_seconds), rows_copied=rows_copied):
        raise _build_taken(move)


def release(move_id: int, *, owner: str) -> None:
    """Releases the lease, so that the next mover does not have to wait until it expires."""
    Move.objects.filter(pk=move_id, lease_owner=owner).update(lease_owner="", lease_until=None)


def advance(move: Move, event: MoveEvent, **facts: Any) -> Move:
    """Records a step and its `facts`. Raises MoveTaken like `renew`, and MoveNotPossible."""
    after = transition(MoveState(move.state), event)
    instant = _INSTANTS.get(event)
    instants = {} if instant is None or getattr(move, instant) else {instant: timezone.now()}
    cleared = (
        {"attempts": 0} if event is MoveEvent.RESTORED else {"attempts": 0, "error": ""}
    )  # keep the reason of the abort
    if not _filter_ours(move).update(**{"state": after} | cleared | instants | facts):
        raise _build_taken(move)
    return get_move(move.pk)


def record_total(move: Move) -> None:
    """Records how many rows are to be copied. Raises MoveTaken like `renew`."""
    if not _filter_ours(move).update(rows_total=move.rows_total):
        raise _build_taken(move)


def record_failure(move: Move, error: str) -> Move:
    """Records a failed attempt. Raises MoveTaken like `renew`."""
    if not _filter_ours(move).update(attempts=move.attempts + 1, error=error):
        raise _build_taken(move)
    return get_move(move.pk)


def flip(move: Move) -> Move:
    """The decision: from this commit on the target owns the partition, and the published topology says so.

    Raises MoveTaken, and MoveNotPossible if the source no longer owns the partition. After a database error the commit
    may or may not have happened: read the move again.
    """
    after = transition(MoveState(move.state), MoveEvent.FLIPPED)
    with transaction.atomic():
        lock_topology()
        if not _filter_ours(move).update(state=after, attempts=0, error="", flipped_at=timezone.now()):
            raise _build_taken(move)
        assigned = PartitionAssignment.objects.filter(
            partition=move.partition, shard_id=move.source_id, epoch=move.source_epoch
        )
        if not assigned.update(shard_id=move.target_id, epoch=move.target_epoch):
            raise MoveNotPossible(f"partition {move.partition} is no longer on {move.source}")
        publish(reason=f"move {move.pk}: {move}", actor=move.actor)
    return get_move(move.pk)


def abort(move_id: int, *, actor: str) -> Move:
    """Requests that a mover restores the source and removes the copy.

    Raises UnknownMove; MoveNotPossible for a move that is finished or already decided.
    """
    with transaction.atomic():
        move: Move | None = Move.objects.select_for_update().filter(pk=move_id).first()
        if move is None:
            raise UnknownMove(f"there is no move {move_id}")
        state = MoveState(move.state)
        if state is MoveState.ABORTING:
            return get_move(move_id)
        if state not in ABORTABLE:
            raise MoveNotPossible(
                f"move {move_id} is {state} and can no longer be aborted: move the partition back when it is done"
            )
        Move.objects.filter(pk=move_id).update(
            state=transition(state, MoveEvent.ABORT), error=f"aborted by {actor}", attempts=0
        )
    return get_move(move_id)


def give_up(move: Move, error: str) -> Move:
    """Like `abort`, by the mover itself. Raises MoveTaken."""
    after = transition(MoveState(move.state), MoveEvent.ABORT)
    if not _filter_ours(move).update(state=after, error=error, attempts=0):
        raise _build_taken(move)
    return get_move(move.pk)


def _build_taken(move: Move) -> MoveTaken:
    return MoveTaken(f"move {move.pk} is no longer leased by this mover, or its state has changed")


def _moves() -> "QuerySet[Move]":
    return Move.objects.select_related("source", "target")


def _filter_ours(move: Move) -> "QuerySet[Move]":
    return Move.objects.filter(pk=move.pk, state=move.state, lease_owner=move.lease_owner)


def _filter_free(moves: "QuerySet[Move]", now: datetime) -> "QuerySet[Move]":
    return moves.filter(Q(lease_until=None) | Q(lease_until__lt=now))

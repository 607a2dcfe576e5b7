"""Moves of partitions: asked for, taken up, written down step by step, decided. The copying is done elsewhere.

Whoever works on a move holds its lease. A step counts when it is written down here, by compare-and-set on the state and
on the lease, so a mover that was replaced can write nothing. The decision itself (`flip`) is one transaction with the
change of the topology.
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
    """A move for each partition to the shard with that id; all or none. Raises MoveNotPossible naming the partition."""
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
        raise MoveNotPossible(f"partition {partition}: there is no such shard to move it to")
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
    """In the order in which they were asked for."""
    return list(_moves().exclude(state__in=FINISHED).order_by("id"))


def count_unfinished() -> dict[str, int]:
    """By state, those that no move is in left out."""
    counted = Move.objects.exclude(state__in=FINISHED).order_by().values_list("state").annotate(count=Count("id"))
    return dict(counted)


def find_free(*, states: Collection[MoveState], now: datetime) -> list[int]:
    """Ids of moves in these states that nobody works on, oldest first."""
    free = _filter_free(Move.objects.filter(state__in=states), now)
    return list(free.order_by("id").values_list("pk", flat=True))


def claim(move_id: int, *, owner: str, lease_seconds: float) -> Move | None:
    """The move, if it is ours to work on now. None for one that is finished or that somebody else works on.

    `claims` of the move returned is larger than that of every mover before.
    """
    now = timezone.now()
    free = _filter_free(Move.objects.filter(pk=move_id).exclude(state__in=FINISHED), now)
    if not free.update(lease_owner=owner, lease_until=now + timedelta(seconds=lease_seconds), claims=F("claims") + 1):
        return None
    move = get_move(move_id)
    # Who falls asleep between the two statements for longer than the lease would read what another mover's claim wrote.
    return move if move.lease_owner == owner else None


def renew(move: Move, *, lease_seconds: float, rows_copied: int) -> None:
    """Raises MoveTaken when it is no longer ours, or no longer in the state that we know."""
    ours = _filter_ours(move)
    if not ours.update(lease_until=timezone.now() + timedelta(seconds=lease_seconds), rows_copied=rows_copied):
        raise MoveTaken(f"move {move.pk} is no longer in our hands")


def release(move_id: int, *, owner: str) -> None:
    """The next mover need not wait for the lease to run out."""
    Move.objects.filter(pk=move_id, lease_owner=owner).update(lease_owner="", lease_until=None)


def advance(move: Move, event: MoveEvent, **facts: Any) -> Move:
    """Write a step down, with what is known of it. Raises MoveTaken as `renew`; MoveNotPossible."""
    after = transition(MoveState(move.state), event)
    instant = _INSTANTS.get(event)
    instants = {} if instant is None or getattr(move, instant) else {instant: timezone.now()}
    cleared = (
        {"attempts": 0} if event is MoveEvent.RESTORED else {"attempts": 0, "error": ""}
    )  # why it was aborted stays
    if not _filter_ours(move).update(**{"state": after} | cleared | instants | facts):
        raise MoveTaken(f"move {move.pk} is no longer in our hands")
    return get_move(move.pk)


def record_total(move: Move) -> None:
    """How many rows are to be copied, as far as known. Raises MoveTaken as `renew`."""
    if not _filter_ours(move).update(rows_total=move.rows_total):
        raise MoveTaken(f"move {move.pk} is no longer in our hands")


def record_failure(move: Move, error: str) -> Move:
    """Raises MoveTaken as `renew`."""
    if not _filter_ours(move).update(attempts=move.attempts + 1, error=error):
        raise MoveTaken(f"move {move.pk} is no longer in our hands")
    return get_move(move.pk)


def flip(move: Move) -> Move:
    """The decision: from this commit on the target owns the partition, and whoever looks at the topology learns it.

    Raises MoveTaken, and MoveNotPossible when the partition is not where this move found it. After a database error
    it may stand or not: look at the move again.
    """
    after = transition(MoveState(move.state), MoveEvent.FLIPPED)
    with transaction.atomic():
        lock_topology()
        if not _filter_ours(move).update(state=after, attempts=0, error="", flipped_at=timezone.now()):
            raise MoveTaken(f"move {move.pk} is no longer in our hands")
        assigned = PartitionAssignment.objects.filter(
            partition=move.partition, shard_id=move.source_id, epoch=move.source_epoch
        )
        if not assigned.update(shard_id=move.target_id, epoch=move.target_epoch):
            raise MoveNotPossible(f"partition {move.partition} is no longer on {move.source}")
        publish(reason=f"move {move.pk}: {move}", actor=move.actor)
    return get_move(move.pk)


def abort(move_id: int, *, actor: str) -> Move:
    """Have the source go on and the copy disappear, by whichever mover comes by.

    Raises UnknownMove; MoveNotPossible for one that is finished or already decided.
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
                f"move {move_id} is {state}: it can no longer be aborted, but moved back when it is done"
            )
        Move.objects.filter(pk=move_id).update(
            state=transition(state, MoveEvent.ABORT), error=f"aborted by {actor}", attempts=0
        )
    return get_move(move_id)


def give_up(move: Move, error: str) -> Move:
    """As `abort`, by the mover itself. Raises MoveTaken."""
    after = transition(MoveState(move.state), MoveEvent.ABORT)
    if not _filter_ours(move).update(state=after, error=error, attempts=0):
        raise MoveTaken(f"move {move.pk} is no longer in our hands")
    return get_move(move.pk)


def _moves() -> "QuerySet[Move]":
    return Move.objects.select_related("source", "target")


def _filter_ours(move: Move) -> "QuerySet[Move]":
    return Move.objects.filter(pk=move.pk, state=move.state, lease_owner=move.lease_owner)


def _filter_free(moves: "QuerySet[Move]", now: datetime) -> "QuerySet[Move]":
    return moves.filter(Q(lease_until=None) | Q(lease_until__lt=now))

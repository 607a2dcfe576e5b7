"""Admin page of moves: shows and aborts them. They are requested by an action of the page of partitions."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from configservice.admin.base import get_reason, is_confirmed, is_confirmed_with_reason, record, render_confirmation
from configservice.errors import MoveNotPossible
from configservice.models import Move, PartitionAssignment, Shard
from configservice.moves.records import abort, plan_moves

Action = Callable[[Any, HttpRequest, "QuerySet[PartitionAssignment]"], HttpResponse | None]
_MOVE_TO = "move_to_"


def build_move_actions() -> dict[str, tuple[Action, str, str]]:
    """One action for each shard, in the form of Django's `get_actions`."""
    return {
        f"{_MOVE_TO}{shard.pk}": (_make_action(shard), f"{_MOVE_TO}{shard.pk}", f"Move selected partitions to {shard}")
        for shard in Shard.objects.all()
    }


def _make_action(target: Shard) -> Action:
    target_id = int(target.pk)

    def move(_: Any, request: HttpRequest, chosen: "QuerySet[PartitionAssignment]") -> HttpResponse | None:
        partitions = sorted(chosen.values_list("partition", flat=True))
        if not is_confirmed(request):
            return render_confirmation(
                request,
                action=f"{_MOVE_TO}{target_id}",
                title=f"Move {len(partitions)} partitions to {target}",
                lines=[
                    f"Partitions {', '.join(map(str, partitions))} are copied to {target}, one after the other, while "
                    "counting and reads go on. During the hand-over of a partition its events wait in the log for a "
                    "moment."
                ],
                selected=partitions,
                label="Move them",
            )
        try:
            moves = plan_moves(
                dict.fromkeys(partitions, target_id),
                actor=request.user.get_username(),
                reason=get_reason(request) or "requested in the admin",
            )
        except MoveNotPossible as error:
            messages.error(request, f"No move was planned: {error}")
        else:
            messages.success(request, f"{len(moves)} moves are planned; a mover will carry them out.")
        return None

    return move


@admin.register(Move)
class MoveAdmin(admin.ModelAdmin):
    """Read-only except for aborting: movers write the rows."""

    list_display = [
        "id",
        "partition",
        "source",
        "target",
        "state",
        "progress",
        "setbacks",
        "error",
        "actor",
        "created_at",
    ]
    list_filter = ["state", "source", "target"]
    search_fields = ["=partition", "actor"]
    list_select_related = ["source", "target"]
    actions = ["abort_moves"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allows selecting rows for an action, but no editing."""
        return obj is None and bool(super().has_change_permission(request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="copied")
    def progress(self, move: Move) -> str:
        return f"{min(100, 100 * move.rows_copied // move.rows_total)} %" if move.rows_total else "-"

    @admin.action(description="Abort selected moves", permissions=["change"])
    def abort_moves(self, request: HttpRequest, chosen: "QuerySet[Move]") -> HttpResponse | None:
        moves = chosen.select_related("source", "target").order_by("pk")
        if not is_confirmed_with_reason(request):
            return render_confirmation(
                request,
                action="abort_moves",
                title=f"Abort {len(moves)} moves",
                lines=[
                    f"Move {move.pk} of partition {move.partition} from {move.source} to {move.target}, now "
                    f"{move.state}: {move.source} keeps the partition, and the copy on {move.target} is removed."
                    for move in moves
                ],
                selected=chosen.values_list("pk", flat=True),
                label="Abort",
                wants_reason=True,
            )
        for move in moves:
            try:
                with transaction.atomic():
                    abort(move.pk, actor=request.user.get_username())
                    record(request, [move], "Aborted")
            except MoveNotPossible as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"Move {move.pk} is being aborted.")
        return None

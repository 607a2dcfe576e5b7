"""Admin page of shards: add after an inspection of the primary, change durability, switch over, rebalance."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse

from configservice.admin.base import (
    PublishingAdmin,
    get_reason,
    is_confirmed,
    is_confirmed_with_reason,
    list_fields,
    render_confirmation,
)
from configservice.admin.join import ADD_SHARD, serve_add_page
from configservice.errors import ConfigServiceError, DurabilityRefused
from configservice.failover.durability_change import check_durability, count_standbys, describe_durability
from configservice.failover.requests import request_switchover
from configservice.models import Instance, PartitionAssignment, RoleChoice, Shard
from configservice.moves.placement import plan_even_numbers
from configservice.moves.records import plan_moves
from configservice.topology.model import Durability

DURABILITY_FIELDS = frozenset({"durability", "quorum", "on_standby_loss"})


class InstanceInline(admin.TabularInline):
    model = Instance
    fields = ["name", "role", "host", "port", "zone", "promotable", "drained"]
    readonly_fields = fields
    extra = 0
    show_change_link = True
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ShardForm(forms.ModelForm):
    """Refuses a durability that the shard's replicas could not meet, with the error at the wrong field."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        standby_count = count_standbys(self.instance) if self.instance.pk else 0
        try:
            check_durability(Durability(cleaned["durability"]), quorum=cleaned["quorum"], standby_count=standby_count)
        except DurabilityRefused as error:
            self.add_error(error.field, str(error))
        return cleaned


@admin.register(Shard)
class ShardAdmin(PublishingAdmin):
    form = ShardForm
    list_display = ["name", "id", "term", "primary", "condition_now", "event_log", "instance_count", "partition_count"]
    search_fields = ["name", "instances__name", "instances__host"]
    readonly_fields = ["term"]
    inlines = [InstanceInline]
    list_select_related = ["condition"]
    actions = ["switch_over", "rebalance"]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return serve_add_page(request, ADD_SHARD)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A change of durability needs a confirmation, since acknowledged events depend on it."""
        if request.method == "POST" and object_id is not None and not is_confirmed_with_reason(request):
            shard = self.get_object(request, object_id)
            if shard is not None and self.has_change_permission(request, shard):
                lines = self._describe_durability_change(request, shard)
                if lines:
                    return render_confirmation(
                        request,
                        action="",
                        title=f"Change the durability of {shard}",
                        lines=lines,
                        selected=(),
                        hidden=list_fields(request),
                        label="Change durability",
                        wants_reason=True,
                    )
        response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        return response

    def _describe_durability_change(self, request: HttpRequest, shard: Shard) -> list[str]:
        """Empty without a change, or for an invalid one, which the form then reports."""
        before = describe_durability(shard)
        form = self.get_form(request, shard)(request.POST, instance=shard)
        if not form.is_valid() or not DURABILITY_FIELDS.intersection(form.changed_data):
            return []
        return [f"Before: {before}", f"From now on: {describe_durability(form.instance)}"]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if get_reason(request):
            return super().log_change(request, obj, f"{describe_durability(obj)} Reason: {get_reason(request)}")
        return super().log_change(request, obj, message)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return (
            super()
            .get_queryset(request)
            .prefetch_related("instances")
            .annotate(
                instance_total=Count("instances", distinct=True),
                partition_total=Count("assignments", distinct=True),
            )
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="primary")
    def primary(self, shard: Shard) -> str:
        return _find_primary(shard) or "none"

    @admin.display(description="condition")
    def condition_now(self, shard: Any) -> str:
        """The condition last recorded by the leading config service."""
        return str(shard.condition.condition) if hasattr(shard, "condition") else "unknown"

    @admin.display(description="event log")
    def event_log(self, shard: Any) -> str:
        """The absent replicas that the event log is kept for, and the used part of its share for them."""
        row = getattr(shard, "condition", None)
        if row is None or not row.log_kept_for:
            return "-"
        names = ", ".join(row.log_kept_for)
        if row.log_kept_bytes is None or not row.log_share_bytes:
            return f"kept for {names}"
        full = "" if row.log_full_seconds is None else f", full in about {row.log_full_seconds / 60:.0f} min"
        return f"kept for {names}: {row.log_kept_bytes / row.log_share_bytes:.0%}{full}"

    @admin.display(description="instances")
    def instance_count(self, shard: Any) -> int:
        return int(shard.instance_total)

    @admin.display(description="partitions")
    def partition_count(self, shard: Any) -> int:
        return int(shard.partition_total)

    @admin.action(description="Switch selected shards over to another primary", permissions=["change"])
    def switch_over(self, request: HttpRequest, chosen: "QuerySet[Shard]") -> HttpResponse | None:
        if not is_confirmed(request):
            return render_confirmation(
                request,
                action="switch_over",
                title="Switch over",
                lines=[
                    f"{shard}: the most advanced replica replaces {_find_primary(shard) or 'no primary'} as primary. "
                    "Writes wait for a moment; reads and the intake of events go on."
                    for shard in chosen
                ],
                selected=chosen.values_list("pk", flat=True),
                label="Switch over",
            )
        for shard in chosen:
            try:
                request_switchover(
                    shard=shard.name,
                    reason=get_reason(request) or "requested in the admin",
                    actor=request.user.get_username(),
                )
            except ConfigServiceError as error:
                self.message_user(request, f"{shard}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{shard}: switchover requested; the page of failovers shows its progress.")
        return None

    @admin.action(description="Rebalance the partitions of selected shards", permissions=["rebalance"])
    def rebalance(self, request: HttpRequest, chosen: "QuerySet[Shard]") -> HttpResponse | None:
        targets = _plan_rebalance(chosen)
        if not targets:
            self.message_user(request, "The shards are balanced: their numbers of partitions differ by at most one.")
            return None
        names = dict(chosen.values_list("pk", "name"))
        if not is_confirmed(request):
            return render_confirmation(
                request,
                action="rebalance",
                title=f"Move {len(targets)} partitions",
                lines=[f"Partition {p} goes to {names[shard_id]}." for p, shard_id in sorted(targets.items())],
                selected=names,
                label="Move them",
            )
        try:
            moves = plan_moves(
                targets, actor=request.user.get_username(), reason=get_reason(request) or "rebalance, in the admin"
            )
        except ConfigServiceError as error:
            self.message_user(request, f"No move was planned: {error}", messages.ERROR)
        else:
            self.message_user(request, f"{len(moves)} moves are planned; a mover will carry them out.")
        return None

    def has_rebalance_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("configservice.add_move"))


def _plan_rebalance(chosen: "QuerySet[Shard]") -> dict[int, int]:
    owned: dict[int, list[int]] = {shard.pk: [] for shard in chosen if _find_primary(shard)}
    for partition, shard_id in PartitionAssignment.objects.filter(shard__in=owned).values_list("partition", "shard"):
        owned[shard_id].append(partition)
    return plan_even_numbers(owned) if owned else {}


def _find_primary(shard: Shard) -> str:
    return next((str(i.name) for i in shard.instances.all() if i.role == RoleChoice.PRIMARY), "")

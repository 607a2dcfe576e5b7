"""The cluster in Django's admin. Every change that processes should know of is published as a new epoch."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Max, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from configservice.durability_change import check_durability, count_standbys
from configservice.errors import ClusterNotInitialised, DurabilityRefused
from configservice.failover_admin import FailoverAdmin
from configservice.history import read_history
from configservice.models import EventType, Instance, PartitionAssignment, RoleChoice, Shard, TopologyEpoch
from configservice.move_admin import MoveAdmin, build_move_actions
from configservice.publication import publish
from configservice.topology import Durability

__all__ = ["FailoverAdmin", "MoveAdmin"]


class PublishingAdmin(admin.ModelAdmin):
    """Saves and publishes in the one transaction that the admin opens around a change."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        self._publish(request, f"{'changed' if change else 'added'} {obj._meta.verbose_name} {obj}")

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        reason = f"removed {obj._meta.verbose_name} {obj}"
        super().delete_model(request, obj)
        self._publish(request, reason)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Nothing of the cluster is removed by the handful."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def _publish(self, request: HttpRequest, reason: str) -> None:
        try:
            topology = publish(reason=reason, actor=request.user.get_username())
        except ClusterNotInitialised as error:
            self.message_user(request, f"Saved, but not published: {error}", messages.WARNING)
        else:
            self.message_user(request, f"Epoch {topology.epoch} is published.")


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class InstanceInline(admin.TabularInline):
    model = Instance
    fields = ["name", "role", "host", "port", "zone", "promotable"]
    readonly_fields = fields
    extra = 0
    show_change_link = True
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ShardForm(forms.ModelForm):
    """Refuses a durability that the shard's replicas could never meet, at the field that is wrong."""

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
    list_display = ["name", "id", "term", "primary", "instance_count", "partition_count"]
    search_fields = ["name", "instances__name", "instances__host"]
    readonly_fields = ["term"]
    inlines = [InstanceInline]

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
        return next((i.name for i in shard.instances.all() if i.role == RoleChoice.PRIMARY), "none")

    @admin.display(description="instances")
    def instance_count(self, shard: Any) -> int:
        return int(shard.instance_total)

    @admin.display(description="partitions")
    def partition_count(self, shard: Any) -> int:
        return int(shard.partition_total)


@admin.register(Instance)
class InstanceAdmin(PublishingAdmin):
    """A role is given once: changing the primary is a failover, not an edit."""

    list_display = ["name", "shard", "role", "host", "port", "database", "zone", "promotable"]
    list_filter = ["shard", "role", "zone", "promotable"]
    search_fields = ["name", "host"]
    list_select_related = ["shard"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [] if obj is None else ["name", "shard", "role"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return bool(allowed and (obj is None or obj.role == RoleChoice.REPLICA))


@admin.register(PartitionAssignment)
class PartitionAssignmentAdmin(ReadOnlyAdmin):
    """A partition changes its shard by being moved: an action for each shard."""

    list_display = ["partition", "shard", "epoch"]
    list_filter = ["shard"]
    search_fields = ["=partition"]
    list_select_related = ["shard"]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        if not request.user.has_perm("configservice.add_move"):
            return {}
        return dict(build_move_actions())


@admin.register(EventType)
class EventTypeAdmin(PublishingAdmin):
    """Types are only ever added: rows on every shard hold their ids."""

    list_display = ["name", "id", "valued"]
    list_filter = ["valued"]
    search_fields = ["name"]
    fields = ["id", "name", "valued"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["id"] if obj is None else ["id", "name", "valued"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.id = (EventType.objects.aggregate(last=Max("id"))["last"] or 0) + 1
        super().save_model(request, obj, form, change)


@admin.register(TopologyEpoch)
class TopologyEpochAdmin(ReadOnlyAdmin):
    """The history of every change: who, when, why, before and after."""

    list_display = ["epoch", "created_at", "actor", "reason"]
    list_filter = ["created_at", "actor"]
    search_fields = ["reason", "actor"]
    fields = ["epoch", "created_at", "actor", "reason", "changes", "readable_snapshot"]

    @admin.display(description="what changed")
    def changes(self, row: TopologyEpoch) -> str:
        (entry,) = read_history(limit=1, before_epoch=row.epoch + 1)
        lines = ((c.kind, c.name, c.field, _show(c.before), _show(c.after)) for c in entry.changes)
        return str(
            format_html(
                "<table><tr><th>what</th><th>name</th><th>field</th><th>before</th><th>after</th></tr>{}</table>",
                format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", lines),
            )
        )

    @admin.display(description="snapshot")
    def readable_snapshot(self, row: TopologyEpoch) -> str:
        return str(format_html("<pre>{}</pre>", json.dumps(json.loads(row.snapshot), indent=2)))


def _show(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2)

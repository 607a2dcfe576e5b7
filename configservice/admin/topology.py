"""Admin pages of partitions, event types and the history of the topology; registers the pages of the other modules.

Every change of the topology in the admin is published as a new epoch.
"""

import json
from typing import Any

from django.contrib import admin
from django.db.models import Max
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from configservice.admin.base import PublishingAdmin, ReadOnlyAdmin
from configservice.admin.failovers import FailoverAdmin
from configservice.admin.instances import InstanceAdmin
from configservice.admin.log_losses import LogLossAdmin
from configservice.admin.moves import MoveAdmin, build_move_actions
from configservice.admin.shards import ShardAdmin
from configservice.models import EventType, PartitionAssignment, TopologyEpoch
from configservice.topology.history import read_history
from configservice.topology.publication import lock_topology

__all__ = ["FailoverAdmin", "InstanceAdmin", "LogLossAdmin", "MoveAdmin", "ShardAdmin"]


@admin.register(PartitionAssignment)
class PartitionAssignmentAdmin(ReadOnlyAdmin):
    """Read-only; an action for each shard requests moves to it."""

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
    """Types can be added but not deleted: rows on every shard hold their ids."""

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
            lock_topology()  # until the commit, so that a concurrent addition gets the next id
            obj.id = (EventType.objects.aggregate(last=Max("id"))["last"] or 0) + 1
        super().save_model(request, obj, form, change)


@admin.register(TopologyEpoch)
class TopologyEpochAdmin(ReadOnlyAdmin):
    """History of all changes of the topology: user, instant, reason, old and new values."""

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

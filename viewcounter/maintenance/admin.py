"""Read-only admin pages of audit findings and recounts."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from viewcounter.deadletters.conflict_admin import ConflictAdmin
from viewcounter.deadletters.dead_letter_admin import DeadLetterAdmin
from viewcounter.loglosses.loss_admin import LogLossRowAdmin
from viewcounter.maintenance.models import AuditFinding, RecountJob

__all__ = ["AuditFindingAdmin", "ConflictAdmin", "DeadLetterAdmin", "LogLossRowAdmin", "RecountJobAdmin"]


class MaintenanceRecordAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditFinding)
class AuditFindingAdmin(MaintenanceRecordAdmin):
    list_display = ["partition", "hour", "comparison", "drift_events", "text", "last_seen_at", "resolved_at"]
    list_filter = ["comparison", ("resolved_at", admin.EmptyFieldListFilter), "partition"]


@admin.register(RecountJob)
class RecountJobAdmin(MaintenanceRecordAdmin):
    list_display = ["id", "partition", "video_id", "apply", "state", "actor", "videos_done", "created_at"]
    list_filter = ["state", "apply", "partition"]
    search_fields = ["video_id", "actor"]

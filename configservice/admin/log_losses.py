"""Read-only admin page of losses of the event log."""

from django.contrib import admin

from configservice.admin.base import ReadOnlyAdmin
from configservice.models import LogLoss


@admin.register(LogLoss)
class LogLossAdmin(ReadOnlyAdmin):
    list_display = ["found_at", "partition", "shard", "position", "actor", "reason", "log_id"]
    list_filter = ["shard", "found_at"]
    search_fields = ["shard", "actor", "reason", "log_id"]
    date_hierarchy = "found_at"

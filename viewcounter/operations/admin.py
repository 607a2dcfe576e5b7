"""Kills in the admin, to look at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from viewcounter.operations.models import Kill


@admin.register(Kill)
class KillAdmin(admin.ModelAdmin):
    list_display = [
        "at",
        "instance",
        "action",
        "reason",
        "session_class",
        "seconds",
        "user",
        "application",
        "statement",
    ]
    list_filter = ["action", "reason", "session_class", "shard", "instance", "at"]
    search_fields = ["=fingerprint", "user", "application", "statement"]
    date_hierarchy = "at"

    @admin.display(description="seconds (budget)", ordering="age_seconds")
    def seconds(self, kill: Kill) -> str:
        return f"{kill.age_seconds:.1f} ({kill.budget_seconds:.1f})"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

"""Read-only admin page of failovers: request or detection, each step with its instant, and the outcome."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from configservice.failover.records import Failover


@admin.register(Failover)
class FailoverAdmin(admin.ModelAdmin):
    list_display = [
        "requested_at",
        "shard",
        "kind",
        "state",
        "old_primary",
        "candidate",
        "seconds",
        "write_pause",
        "reason",
        "actor",
    ]
    list_filter = ["kind", "state", "shard", "requested_at"]
    search_fields = ["shard__name", "old_primary", "candidate", "reason", "actor", "message"]
    list_select_related = ["shard"]
    date_hierarchy = "requested_at"
    fields = [
        "shard",
        "kind",
        "state",
        "reason",
        "actor",
        "target",
        "old_primary",
        "candidate",
        "steps",
        "write_pause",
        "message",
        "term",
        "epoch",
        "synchronous_standby_names",
    ]

    @admin.display(description="seconds")
    def seconds(self, failover: Failover) -> str:
        """From the request or detection to the end."""
        if failover.finished_at is None:
            return "running"
        return f"{(failover.finished_at - failover.requested_at).total_seconds():.2f}"

    @admin.display(description="write pause", ordering="write_pause_ms")
    def write_pause(self, failover: Failover) -> str:
        return "-" if failover.write_pause_ms is None else f"{failover.write_pause_ms} ms"

    @admin.display(description="steps")
    def steps(self, failover: Failover) -> str:
        rows = ((step, f"{at:%Y-%m-%d %H:%M:%S}", f"{after:.3f} s") for step, at, after in list_steps(failover))
        return str(
            format_html(
                "<table><tr><th>step</th><th>at (UTC)</th><th>after</th></tr>{}</table>",
                format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
            )
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def list_steps(failover: Failover) -> Iterator[tuple[str, datetime, float]]:
    """The steps so far, each with its instant and the seconds since the request. Pure."""
    instants = (
        ("requested, or failure detected", failover.requested_at),
        ("started: standbys are detached", failover.started_at),
        (f"chosen: {failover.candidate}", failover.chosen_at),
        ("promoted", failover.promoted_at),
        (f"finished: {failover.state}", failover.finished_at),
    )
    for step, at in instants:
        if at is not None:
            yield step, at, (at - failover.requested_at).total_seconds()

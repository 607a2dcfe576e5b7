"""The admin site of the console: its title, and its pages in groups by task instead of by Django application."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Cluster",
        (
            ("configservice.shard", "Shards"),
            ("configservice.instance", "Instances"),
            ("configservice.partitionassignment", "Partitions"),
            ("operations.servicerow", "Workers and other processes"),
        ),
    ),
    (
        "Changes",
        (
            ("configservice.move", "Moves"),
            ("configservice.failover", "Failovers"),
            ("configservice.topologyepoch", "History of the topology"),
            ("configservice.logloss", "Replacements of the event log"),
            ("processing.loglossrow", "Lost ranges of the event log"),
            ("operations.kill", "Ended queries"),
        ),
    ),
    (
        "Correctness",
        (
            ("processing.deadletterrow", "Dead letters"),
            ("processing.conflictrow", "Conflicts"),
            ("processing.auditfinding", "Audit findings"),
            ("processing.recountjob", "Recounts"),
        ),
    ),
    (
        "Catalogue",
        (
            ("catalogue.video", "Videos"),
            ("catalogue.channel", "Channels"),
            ("configservice.eventtype", "Event types"),
        ),
    ),
    ("Access", (("gateway.apikey", "API keys"), ("auth.user", "Users"), ("auth.group", "Groups"))),
)
"""Models by label in lower case, each with its name in the navigation."""
OTHERS = "Other pages"


class ConsoleSite(admin.AdminSite):
    site_header = "viewcounter console"
    site_title = "viewcounter"
    index_title = "Overview"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """Pages that the user may see, by GROUPS; those that no group names come last. `app_label`: as in Django."""
        found: list[dict[str, Any]] = super().get_app_list(request, app_label)
        if app_label is not None:
            return found
        pages = {model["model"]._meta.label_lower: model for app in found for model in app["models"]}
        groups = [
            (title, [{**pages.pop(label), "name": name} for label, name in entries if label in pages])
            for title, entries in GROUPS
        ]
        groups.append((OTHERS, list(pages.values())))
        return [
            {"name": title, "app_label": title.lower(), "app_url": "", "has_module_perms": True, "models": models}
            for title, models in groups
            if models
        ]

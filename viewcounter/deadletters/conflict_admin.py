"""Conflicts in the admin, read only: which client uses an id twice, and for what."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from clusterproxy.proxy import ClusterProxy
from viewcounter.deadletters.conflicts import ConflictPage, list_conflicts
from viewcounter.deadletters.shard_rows_admin import PAGE_SIZE, RowsForm, ShardRowsAdmin
from viewcounter.maintenance.models import ConflictRow


def read_conflicts(cluster: ClusterProxy, form: RowsForm) -> ConflictPage:
    return list_conflicts(
        cluster,
        partition=form.cleaned_data["partition"],
        video_id=form.cleaned_data["video_id"] or None,
        before=form.find_place(),
        limit=PAGE_SIZE,
    )


@admin.register(ConflictRow)
class ConflictAdmin(ShardRowsAdmin):
    title = "Conflicts"
    template = "admin/processing/conflicts.html"
    filter_form = RowsForm
    read_page = staticmethod(read_conflicts)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

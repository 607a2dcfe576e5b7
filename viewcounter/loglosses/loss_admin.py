"""Losses of the event log in the admin: listed for those who may view them, closed by those who may change them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from clusterproxy.proxy import ClusterProxy
from configservice.admin.base import get_reason, is_confirmed_with_reason, record, render_confirmation
from viewcounter.cluster import get_cluster
from viewcounter.deadletters.shard_rows_admin import PAGE_SIZE, UNREACHABLE, RowsForm, ShardRowsAdmin
from viewcounter.loglosses.losses import LossPage, accept_losses, list_losses
from viewcounter.maintenance.models import LogLossRow
from viewcounter.storage.log_losses import LossKey


class LossForm(RowsForm):
    video_id = None
    only_open = forms.BooleanField(required=False)


def read_losses(cluster: ClusterProxy, form: LossForm) -> LossPage:
    return list_losses(
        cluster,
        partition=form.cleaned_data["partition"],
        only_open=form.cleaned_data["only_open"],
        before=form.find_place(),
        limit=PAGE_SIZE,
    )


@admin.register(LogLossRow)
class LogLossRowAdmin(ShardRowsAdmin):
    title = "Lost ranges of the event log"
    template = "admin/processing/log_losses.html"
    filter_form = LossForm
    read_page = staticmethod(read_losses)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return super().changelist_view(request, extra_context)
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            answer = _close(request, get_cluster())
        except UNREACHABLE as error:
            messages.error(request, f"Not all shards answered: {error}")
            answer = None
        return answer or HttpResponseRedirect(request.get_full_path())


def _close(request: HttpRequest, cluster: ClusterProxy) -> HttpResponse | None:
    """The confirmation page; None once the losses are closed, or cannot be."""
    try:
        keys = [LossKey.parse(text) for text in request.POST.getlist("id")[:PAGE_SIZE]]
    except ValueError:
        messages.error(request, "Not the id of a loss.")
        return None
    if not keys:
        messages.warning(request, "Select losses first.")
        return None
    if not is_confirmed_with_reason(request):
        return render_confirmation(
            request,
            action="close",
            title=f"Close {len(keys)} losses",
            lines=[
                "Their events are lost for good, unless senders send them again. Answers no longer name these losses; "
                "positions in them stay lost. If the older log server may come back, run salvage_log first.",
                ", ".join(map(str, keys)),
            ],
            selected=(),
            hidden=[("id", str(key)) for key in keys],
            label="Close",
            wants_reason=True,
        )
    actor = f"{request.user.get_username()} (admin)"
    closed = accept_losses(cluster, keys, actor=actor, reason=get_reason(request))
    record(request, [LogLossRow(pk=key.id) for key in sorted(closed)], "Closed as lost for good")
    messages.info(request, f"{len(closed)} of {len(keys)} losses closed.")
    return None

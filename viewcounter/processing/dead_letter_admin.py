"""Dead letters in the admin.

It makes the same calls as the REST API and the command. Whoever may view sees the list; replaying, discarding and
resuming need the permission to change, a POST and Django's CSRF token.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from clusterproxy.proxy import ClusterProxy
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.dead_letters import (
    DeadLetterId,
    DeadLetterPage,
    Outcome,
    build_replay_rules,
    discard_dead_letters,
    list_dead_letters,
    replay_dead_letters,
)
from viewcounter.processing.errors import UnknownDeadLetter
from viewcounter.processing.models import DeadLetterRow
from viewcounter.processing.shard_rows_admin import PAGE_SIZE, UNREACHABLE, RowsForm, ShardRowsAdmin, is_partition
from viewcounter.processing.stopped import list_stopped, resume
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState


class FilterForm(RowsForm):
    state = forms.ChoiceField(required=False, choices=[("", "any"), *((s.value, s.value) for s in DeadLetterState)])
    reason = forms.CharField(required=False, max_length=64)
    start = forms.DateTimeField(required=False, label="first refused from (UTC)")
    end = forms.DateTimeField(required=False, label="first refused before (UTC)")

    def get_filter(self) -> DeadLetterFilter:
        asked = self.cleaned_data
        return DeadLetterFilter(
            partition=asked["partition"],
            state=DeadLetterState(asked["state"]) if asked["state"] else None,
            reason=asked["reason"] or None,
            video_id=asked["video_id"] or None,
            start=asked["start"],
            end=asked["end"],
        )


class ResumeForm(forms.Form):
    partition = forms.IntegerField(min_value=0)
    accept_dead_letters = forms.IntegerField(min_value=0, max_value=1_000_000)


def read_dead_letters(cluster: ClusterProxy, form: FilterForm) -> DeadLetterPage:
    return list_dead_letters(cluster, form.get_filter(), before=form.find_place(), limit=PAGE_SIZE)


@admin.register(DeadLetterRow)
class DeadLetterAdmin(ShardRowsAdmin):
    title = "Dead letters"
    template = "admin/processing/dead_letters.html"
    filter_form = FilterForm
    read_page = staticmethod(read_dead_letters)

    def read_context(self, cluster: ClusterProxy) -> dict[str, Any]:
        return {"stopped": list_stopped(cluster)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return super().changelist_view(request, extra_context)
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            self._act(request, get_cluster())
        except UNREACHABLE as error:
            messages.error(request, f"Not all shards answered: {error}")
        return HttpResponseRedirect(request.get_full_path())

    def _act(self, request: HttpRequest, cluster: ClusterProxy) -> None:
        actor = f"{request.user.get_username()} (admin)"
        action = request.POST.get("action")
        if action == "resume":
            _resume(request, cluster, actor=actor)
            return
        try:
            ids = [DeadLetterId.parse(text) for text in request.POST.getlist("id")[:PAGE_SIZE]]
        except UnknownDeadLetter as error:
            messages.error(request, str(error))
            return
        if action == "replay":
            rules = build_replay_rules(cluster.topology, get_config(), now=datetime.now(UTC))
            _tell(request, replay_dead_letters(cluster, get_event_log(), ids, actor=actor, rules=rules))
        elif action == "discard":
            _tell(request, discard_dead_letters(cluster, ids, actor=actor))


def _resume(request: HttpRequest, cluster: ClusterProxy, *, actor: str) -> None:
    form = ResumeForm(request.POST)
    if not form.is_valid() or not is_partition(cluster, form.cleaned_data["partition"]):
        messages.error(request, "Not resumed: say how many dead letters are accepted.")
        return
    if resume(cluster, actor=actor, **form.cleaned_data):
        messages.success(request, f"Partition {form.cleaned_data['partition']} goes on.")
    else:
        messages.warning(request, f"Partition {form.cleaned_data['partition']} was not stopped.")


def _tell(request: HttpRequest, outcomes: list[Outcome]) -> None:
    counts = Counter(outcome.result.value for outcome in outcomes)
    messages.info(
        request, ", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "None selected."
    )
    for outcome in outcomes:
        if outcome.detail:
            messages.warning(request, f"{outcome.id}: {outcome.result.value}: {outcome.detail}")

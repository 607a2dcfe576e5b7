"""Dead letters in the admin.

It makes the same calls as the REST API and the command. A user with the permission to view sees the list; replaying,
discarding and resuming need the permission to change, a POST and Django's CSRF token.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from clusterproxy.proxy import ClusterProxy
from configservice.admin.base import is_confirmed_with_reason, record, render_confirmation
from configservice.models import PartitionAssignment
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.errors import UnknownDeadLetter
from viewcounter.deadletters.replay import (
    DeadLetterId,
    DeadLetterPage,
    ReplayOutcome,
    ReplayRules,
    Result,
    discard_dead_letters,
    list_dead_letters,
    replay_dead_letters,
)
from viewcounter.deadletters.shard_rows_admin import PAGE_SIZE, UNREACHABLE, RowsForm, ShardRowsAdmin, is_partition
from viewcounter.deadletters.stopped import list_stopped, resume
from viewcounter.eventlog.registry import get_event_log
from viewcounter.maintenance.models import DeadLetterRow
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState


class FilterForm(RowsForm):
    state = forms.ChoiceField(required=False, choices=[("", "any"), *((s.value, s.value) for s in DeadLetterState)])
    reason = forms.CharField(required=False, max_length=64)
    start = forms.DateTimeField(required=False, label="first refused from (UTC)")
    end = forms.DateTimeField(required=False, label="first refused before (UTC)")

    def get_filter(self) -> DeadLetterFilter:
        values = self.cleaned_data
        return DeadLetterFilter(
            partition=values["partition"],
            state=DeadLetterState(values["state"]) if values["state"] else None,
            reason=values["reason"] or None,
            video_id=values["video_id"] or None,
            start=values["start"],
            end=values["end"],
        )


class ResumeForm(forms.Form):
    partition = forms.IntegerField(min_value=0)
    accept_dead_letters = forms.IntegerField(min_value=0, max_value=1_000_000)


_MEANINGS = {
    "replay": ("Replay", "Their events are appended to the log again, under their own ids, and counted once."),
    "discard": ("Discard", "Their events will never be counted. Their rows stay for a while."),
}
"""By action: its label and its effect."""
_RECORDED = {
    Result.REPLAYED: "Replayed",
    Result.DISCARDED: "Discarded",
    Result.UNAVAILABLE: "Asked for, not confirmed by its shard or the log",
}
"""Results that changed a dead letter, or may have."""
HISTORY_LINES = 200


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

    def get_urls(self) -> list[URLPattern]:
        history = self.admin_site.admin_view(self.history_of_all_view)
        return [path("history/", history, name="processing_deadletterrow_history_of_all"), *super().get_urls()]

    def history_of_all_view(self, request: HttpRequest) -> HttpResponse:
        """Who replayed, discarded or resumed what, and why; newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kinds = [ContentType.objects.get_for_model(model) for model in (DeadLetterRow, PartitionAssignment)]
        lines = LogEntry.objects.filter(content_type__in=kinds).select_related("user").order_by("-action_time")
        context = {**self.admin_site.each_context(request), "title": "History of dead letters"}
        return TemplateResponse(
            request, "admin/processing/dead_letter_history.html", context | {"lines": lines[:HISTORY_LINES]}
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return super().changelist_view(request, extra_context)
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            answer = _act(request, get_cluster())
        except UNREACHABLE as error:
            messages.error(request, f"Not all shards answered: {error}")
            answer = None
        return answer or HttpResponseRedirect(request.get_full_path())


def _act(request: HttpRequest, cluster: ClusterProxy) -> HttpResponse | None:
    """The confirmation page; None once the action is done, or not possible."""
    action = request.POST.get("action")
    if action == "resume":
        return _resume(request, cluster)
    if action not in _MEANINGS:
        return None
    try:
        ids = [DeadLetterId.parse(text) for text in request.POST.getlist("id")[:PAGE_SIZE]]
    except UnknownDeadLetter as error:
        messages.error(request, str(error))
        return None
    if not ids:
        messages.warning(request, "Select dead letters first.")
        return None
    if not is_confirmed_with_reason(request):
        label, meaning = _MEANINGS[action]
        return render_confirmation(
            request,
            action=action,
            title=f"{label} {len(ids)} dead letters",
            lines=[meaning, ", ".join(map(str, ids))],
            selected=(),
            hidden=[("id", str(each)) for each in ids],
            label=label,
            wants_reason=True,
        )
    actor = f"{request.user.get_username()} (admin)"
    if action == "replay":
        rules = ReplayRules(cluster.topology, datetime.now(UTC), get_config().accept.past_seconds)
        _show_outcomes(request, replay_dead_letters(cluster, get_event_log(), ids, actor=actor, rules=rules))
    else:
        _show_outcomes(request, discard_dead_letters(cluster, ids, actor=actor))
    return None


def _resume(request: HttpRequest, cluster: ClusterProxy) -> HttpResponse | None:
    form = ResumeForm(request.POST)
    if not form.is_valid() or not is_partition(cluster, form.cleaned_data["partition"]):
        messages.error(request, "Not resumed: say how many dead letters are accepted.")
        return None
    partition, accepted = form.cleaned_data["partition"], form.cleaned_data["accept_dead_letters"]
    if not is_confirmed_with_reason(request):
        return render_confirmation(
            request,
            action="resume",
            title=f"Resume partition {partition}",
            lines=[
                f"Partition {partition} is drained again from where it stopped. Its next {accepted} dead letters are "
                "accepted whatever the limits say; their events are not counted. One more stops it again."
            ],
            selected=(),
            hidden=[("partition", partition), ("accept_dead_letters", accepted)],
            label="Resume",
            wants_reason=True,
        )
    actor = f"{request.user.get_username()} (admin)"
    if resume(cluster, partition, actor=actor, accept_dead_letters=accepted):
        record(request, [PartitionAssignment(partition=partition)], f"Resumed, accepting {accepted} dead letters")
        messages.success(request, f"Partition {partition} is resumed.")
    else:
        messages.warning(request, f"Partition {partition} was not stopped.")
    return None


def _show_outcomes(request: HttpRequest, outcomes: list[ReplayOutcome]) -> None:
    counts = Counter(outcome.result.value for outcome in outcomes)
    for result, done in _RECORDED.items():
        record(request, [DeadLetterRow(pk=each.id) for each in outcomes if each.result is result], done)
    messages.info(
        request, ", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "None selected."
    )
    for outcome in outcomes:
        if outcome.detail:
            messages.warning(request, f"{outcome.id}: {outcome.result.value}: {outcome.detail}")

"""Dead letters in the admin. Their rows lie on the shards, out of the ORM's reach, so the page is a view of our own.

It makes the same calls as the REST API and the command. Whoever may view sees the list; replaying, discarding and
resuming need the permission to change, a POST and Django's CSRF token.
"""
# ruff: noqa: ARG002 (Django gives its hooks more than they need)

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from shardproxy.errors import ShardProxyError
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
from viewcounter.processing.stopped import list_stopped, resume
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState, Place

PAGE_SIZE = 100
UNREACHABLE = (ClusterProxyError, ShardProxyError)


class FilterForm(forms.Form):
    """`before_…` is where the page begins; all three or none."""

    state = forms.ChoiceField(required=False, choices=[("", "any"), *((s.value, s.value) for s in DeadLetterState)])
    reason = forms.CharField(required=False, max_length=64)
    partition = forms.IntegerField(required=False, min_value=0)
    video_id = forms.CharField(required=False, max_length=256)
    start = forms.DateTimeField(required=False, label="first refused from (UTC)")
    end = forms.DateTimeField(required=False, label="first refused before (UTC)")
    before_at = forms.DateTimeField(required=False, widget=forms.HiddenInput, input_formats=["%Y-%m-%dT%H:%M:%S.%f"])
    before_partition = forms.IntegerField(required=False, widget=forms.HiddenInput)
    before_id = forms.IntegerField(required=False, widget=forms.HiddenInput)

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

    def find_place(self) -> Place | None:
        parts = [self.cleaned_data[name] for name in ("before_at", "before_partition", "before_id")]
        return None if None in parts else Place(*parts)


class ResumeForm(forms.Form):
    partition = forms.IntegerField(min_value=0)
    accept_dead_letters = forms.IntegerField(min_value=0, max_value=1_000_000)


@admin.register(DeadLetterRow)
class DeadLetterAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """The list only: the model has no table for pages of single objects."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        cluster = get_cluster()
        if request.method != "POST":
            return self._show(request, cluster)
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            self._act(request, cluster)
        except UNREACHABLE as error:
            messages.error(request, f"Not all shards answered: {error}")
        return HttpResponseRedirect(request.get_full_path())

    def _show(self, request: HttpRequest, cluster: ClusterProxy) -> HttpResponse:
        form = FilterForm(request.GET)
        context = {
            **self.admin_site.each_context(request),
            "title": "Dead letters",
            "filter_form": form,
            "may_change": self.has_change_permission(request),
            "letters": [],
        }
        try:
            context["stopped"] = list_stopped(cluster)
            if form.is_valid() and _is_partition(cluster, form.cleaned_data["partition"]):
                page = list_dead_letters(cluster, form.get_filter(), before=form.find_place(), limit=PAGE_SIZE)
                context |= {"letters": page.letters, "next_query": _build_next_query(request, page)}
                if page.missing_shards:
                    names = ", ".join(cluster.topology.get_shard(shard_id).name for shard_id in page.missing_shards)
                    context["error"] = f"No answer from {names}: their dead letters are not listed."
        except UNREACHABLE as error:
            context["error"] = f"Not all shards answered: {error}"
        return TemplateResponse(request, "admin/processing/dead_letters.html", context)

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
    if not form.is_valid() or not _is_partition(cluster, form.cleaned_data["partition"]):
        messages.error(request, "Not resumed: say how many dead letters are accepted.")
        return
    if resume(cluster, actor=actor, **form.cleaned_data):
        messages.success(request, f"Partition {form.cleaned_data['partition']} goes on.")
    else:
        messages.warning(request, f"Partition {form.cleaned_data['partition']} was not stopped.")


def _is_partition(cluster: ClusterProxy, partition: int | None) -> bool:
    return partition is None or partition < cluster.topology.partition_count


def _tell(request: HttpRequest, outcomes: list[Outcome]) -> None:
    counts = Counter(outcome.result.value for outcome in outcomes)
    messages.info(
        request, ", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "None selected."
    )
    for outcome in outcomes:
        if outcome.detail:
            messages.warning(request, f"{outcome.id}: {outcome.result.value}: {outcome.detail}")


def _build_next_query(request: HttpRequest, page: DeadLetterPage) -> str:
    if page.following is None:
        return ""
    place = {
        "before_at": page.following.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "before_partition": page.following.partition,
        "before_id": page.following.id,
    }
    return urlencode({**request.GET.dict(), **place})

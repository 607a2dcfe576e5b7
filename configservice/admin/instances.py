"""Admin page of instances: add after an inspection, drain, undrain, remove. Only failovers change roles."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from configservice.admin.base import PublishingAdmin, get_reason, is_confirmed, render_confirmation
from configservice.admin.join import ADD_REPLICA, serve_add_page
from configservice.errors import CandidateRefused, ConfigServiceError
from configservice.join.changes import check_standby
from configservice.join.dependencies import get_cluster_tools
from configservice.join.draining import (
    describe_drain,
    describe_removal,
    drain_instance,
    find_instance,
    remove_instance,
    undrain_instance,
)
from configservice.models import Instance, RoleChoice
from configservice.topology.model import Instance as TopologyInstance
from configservice.topology.model import Shard, Topology

Describe = Callable[[Shard, TopologyInstance], str]


class InstanceForm(forms.ModelForm):
    def clean_promotable(self) -> bool:
        """The event log was not kept for it while it was not promotable, so it must have caught up by itself."""
        promotable = bool(self.cleaned_data["promotable"])
        row = self.instance
        if promotable and not row.promotable and row.role == RoleChoice.REPLICA:
            shard, instance = find_instance(row.name)
            try:
                check_standby(instance, shard, tools=get_cluster_tools())
            except CandidateRefused as error:
                raise forms.ValidationError(str(error)) from error
        return promotable


@admin.register(Instance)
class InstanceAdmin(PublishingAdmin):
    """Addresses cannot be changed here, since another address is another server. `init_cluster` changes them."""

    form = InstanceForm
    list_display = ["name", "shard", "role", "host", "port", "database", "zone", "promotable", "drained"]
    list_filter = ["shard", "role", "zone", "promotable", "drained"]
    search_fields = ["name", "host"]
    list_select_related = ["shard"]
    fields = [
        "name",
        "shard",
        "role",
        "host",
        "port",
        "database",
        "user",
        "password_ref",
        "sslmode",
        "drained",
        "away_since",
        "excluded_at",
        "zone",
        "promotable",
    ]
    readonly_fields = fields[:-2]
    actions = ["drain", "use_again", "remove"]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return serve_add_page(request, ADD_REPLICA)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deletion is by the action `remove`, which checks and describes it."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if obj.promotable:
            obj.excluded_at = obj.away_since = None
        super().save_model(request, obj, form, change)

    @admin.action(description="Drain selected instances", permissions=["change"])
    def drain(self, request: HttpRequest, chosen: "QuerySet[Instance]") -> HttpResponse | None:
        return self._change(request, chosen, drain_instance, action="drain", label="Drain", describe=describe_drain)

    @admin.action(description="Use selected instances again", permissions=["change"])
    def use_again(self, request: HttpRequest, chosen: "QuerySet[Instance]") -> HttpResponse | None:
        def undrain(name: str, *, actor: str, reason: str) -> Topology:
            return undrain_instance(name, get_cluster_tools(), actor=actor, reason=reason)

        return self._change(request, chosen, undrain, action="use_again", label="Use again", describe=_describe_use)

    @admin.action(description="Remove selected instances", permissions=["change"])
    def remove(self, request: HttpRequest, chosen: "QuerySet[Instance]") -> HttpResponse | None:
        return self._change(
            request, chosen, remove_instance, action="remove", label="Remove", describe=describe_removal
        )

    def _change(
        self,
        request: HttpRequest,
        chosen: "QuerySet[Instance]",
        change: Callable[..., Topology],
        *,
        action: str,
        label: str,
        describe: Describe,
    ) -> HttpResponse | None:
        """Changes one instance after the other; a refusal does not stop the others."""
        names = list(chosen.order_by("name").values_list("name", flat=True))
        if not is_confirmed(request):
            return render_confirmation(
                request,
                action=action,
                title=f"{label}: {', '.join(names)}",
                lines=[describe(*find_instance(name)) for name in names],
                selected=chosen.values_list("pk", flat=True),
                label=label,
            )
        for name in names:
            try:
                topology = change(name, actor=request.user.get_username(), reason=get_reason(request))
            except ConfigServiceError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"{name}: published epoch {topology.epoch}.")
        return None


def _describe_use(shard: Shard, instance: TopologyInstance) -> str:
    return f"{instance.name} serves reads again, commits of {shard.name} may wait for it, and it may be promoted."

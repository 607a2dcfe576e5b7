"""Admin pages that add a shard or a replica: inspect and validate the server, show the result, confirm, add.

One form, posted twice. Each post inspects the server again, since it may have changed after the first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from configservice.admin.base import is_confirmed
from configservice.errors import CandidateRefused, ConfigServiceError
from configservice.join.changes import (
    CheckedServer,
    add_replica,
    add_shard,
    check_new_replica,
    check_new_shard,
    find_similar,
)
from configservice.join.dependencies import get_cluster_tools
from configservice.models import REASON_MAX_LENGTH, Instance, Shard, SslMode
from configservice.topology.model import Instance as Candidate
from configservice.topology.model import Role, Topology

DEFAULT_PORT = 5432


class ServerForm(forms.Form):
    """Has the field names of refusals. The config service validates the values, not this form."""

    role: ClassVar[Role]

    name = forms.CharField(max_length=63, label="name of the instance")
    host = forms.CharField(max_length=253, help_text="allowed by VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST")
    port = forms.IntegerField(min_value=1, max_value=65535, initial=DEFAULT_PORT)
    database = forms.CharField(max_length=63)
    user = forms.CharField(max_length=63)
    password_ref = forms.CharField(
        max_length=255,
        label="password reference",
        help_text="reference to the password: env:NAME or file:/absolute/path",
    )
    sslmode = forms.ChoiceField(choices=SslMode.choices, initial=SslMode.PREFER, label="SSL mode")
    zone = forms.CharField(max_length=63, initial="local")
    reason = forms.CharField(max_length=REASON_MAX_LENGTH, required=False, help_text="stored in the history")

    def get_shard(self) -> str:
        return str(self.cleaned_data["shard"])

    def build_candidate(self) -> Candidate:
        names = ("name", "host", "port", "database", "user", "password_ref", "sslmode", "zone")
        return Candidate(role=self.role, **{name: self.cleaned_data[name] for name in names})

    def refuse(self, error: CandidateRefused) -> None:
        for refusal in error.refusals:
            self.add_error(refusal.field if refusal.field in self.fields else None, refusal.reason)


class ShardServerForm(ServerForm):
    role = Role.PRIMARY
    shard = forms.CharField(max_length=63, label="name of the shard")
    field_order = ["shard"]


class ReplicaServerForm(ServerForm):
    role = Role.REPLICA
    shard = forms.ModelChoiceField(Shard.objects.all(), to_field_name="name")
    field_order = ["shard"]


@dataclass(frozen=True, slots=True)
class AddPage:
    """One page that adds a server. `model` decides the required permission and the list shown afterwards."""

    model: type[Shard] | type[Instance]
    title: str
    explanation: str
    question: str
    form: type[ServerForm]
    check: Callable[..., CheckedServer]
    add: Callable[..., Topology]


ADD_SHARD = AddPage(
    model=Shard,
    title="Add a shard",
    explanation="Name the primary of the new shard: a server with an empty database.",
    question="viewcounter creates its tables there, then publishes the shard. No partition moves.",
    form=ShardServerForm,
    check=check_new_shard,
    add=add_shard,
)
ADD_REPLICA = AddPage(
    model=Instance,
    title="Add a replica",
    explanation="Name a server made by pg_basebackup that streams from the shard's primary under the instance's name.",
    question="It serves reads, commits may wait for it, and it may be promoted.",
    form=ReplicaServerForm,
    check=check_new_replica,
    add=add_replica,
)


def serve_add_page(request: HttpRequest, adding: AddPage) -> HttpResponse:
    if not request.user.has_perm(f"configservice.add_{adding.model._meta.model_name}"):
        raise PermissionDenied
    form = adding.form(request.POST or None, initial=_get_initial(request))
    checked: CheckedServer | None = None
    if request.method == "POST" and form.is_valid():
        try:
            if is_confirmed(request):
                return _add(request, adding, form)
            checked = adding.check(form.get_shard(), form.build_candidate(), get_cluster_tools())
        except CandidateRefused as error:
            form.refuse(error)
        except ConfigServiceError as error:
            form.add_error(None, str(error))
    context = {
        **admin.site.each_context(request),
        "title": adding.title,
        "explanation": adding.explanation,
        "question": adding.question,
        "form": form,
        "checked": checked,
        "opts": adding.model._meta,
    }
    return TemplateResponse(request, "admin/configservice/add_server.html", context)


def _add(request: HttpRequest, adding: AddPage, form: ServerForm) -> HttpResponse:
    adding.add(
        form.get_shard(),
        form.build_candidate(),
        get_cluster_tools(),
        actor=request.user.get_username(),
        reason=form.cleaned_data["reason"],
        progress=lambda step: messages.info(request, step),
    )
    return HttpResponseRedirect(reverse(f"admin:configservice_{adding.model._meta.model_name}_changelist"))


def _get_initial(request: HttpRequest) -> dict[str, Any]:
    shard = str(request.GET.get("shard", ""))
    similar = find_similar(shard)
    names = ("database", "user", "password_ref", "sslmode", "zone")
    return {"shard": shard} | ({} if similar is None else {name: getattr(similar, name) for name in names})

"""Admin lists of rows on the shards, which the ORM cannot read: a filter, a page, a link to the next page.

A model without a table gives them their place and permissions in the admin.
"""

from collections.abc import Mapping
from datetime import UTC
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.deadletters.shard_pages import Page
from viewcounter.storage.page_keys import PageKey

PAGE_SIZE = 100
UNREACHABLE = (ClusterProxyError, ShardProxyError)


class RowsForm(forms.Form):
    """`before_…` is where the page begins; all three or none."""

    partition = forms.IntegerField(required=False, min_value=0)
    video_id = forms.CharField(required=False, max_length=256)
    before_at = forms.DateTimeField(required=False, widget=forms.HiddenInput, input_formats=["%Y-%m-%dT%H:%M:%S.%f"])
    before_partition = forms.IntegerField(required=False, widget=forms.HiddenInput)
    before_id = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def find_place(self) -> PageKey | None:
        parts = [self.cleaned_data[name] for name in ("before_at", "before_partition", "before_id")]
        return None if None in parts else PageKey(*parts)


class ShardRowsAdmin(admin.ModelAdmin):
    """A subclass defines the rows and how they are shown.

    `read_page` reads the rows that the valid form selects, PAGE_SIZE at most.
    """

    title: ClassVar[str]
    template: ClassVar[str]
    filter_form: ClassVar[type[RowsForm]]
    read_page: ClassVar["staticmethod[[ClusterProxy, Any], Page[Any]]"]

    def read_context(self, cluster: ClusterProxy) -> Mapping[str, Any]:
        """Context of the template besides the page."""
        return {}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """The list only: the model has no table, so there are no pages of single objects."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        cluster, form = get_cluster(), self.filter_form(request.GET)
        context = {
            **self.admin_site.each_context(request),
            "title": self.title,
            "filter_form": form,
            "may_change": self.has_change_permission(request),
            "items": [],
        }
        try:
            context |= self.read_context(cluster)
            if form.is_valid() and is_partition(cluster, form.cleaned_data["partition"]):
                page = self.read_page(cluster, form)
                context |= {"items": page.items, "next_query": _build_next_query(request, page.next_key)}
                if page.missing_shards:
                    names = ", ".join(cluster.topology.get_shard(shard_id).name for shard_id in page.missing_shards)
                    context["error"] = f"No answer from {names}: the rows there are not listed."
        except UNREACHABLE as error:
            context["error"] = f"Not all shards answered: {error}"
        return TemplateResponse(request, self.template, context)


def is_partition(cluster: ClusterProxy, partition: int | None) -> bool:
    return partition is None or partition < cluster.topology.partition_count


def _build_next_query(request: HttpRequest, next_key: PageKey | None) -> str:
    if next_key is None:
        return ""
    place = {
        "before_at": next_key.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "before_partition": next_key.partition,
        "before_id": next_key.id,
    }
    return urlencode({**request.GET.dict(), **place})

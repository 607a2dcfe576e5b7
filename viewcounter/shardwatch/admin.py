"""Read-only admin pages: kills, and the registered processes of the service."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from configservice.registry.services import RegisteredService
from viewcounter.health.registration import find_services
from viewcounter.shardwatch.models import Kill, ServiceRow
from viewcounter.web.log_in import LogInForm

admin.site.login_form = LogInForm


@admin.register(Kill)
class KillAdmin(admin.ModelAdmin):
    list_display = [
        "at",
        "instance",
        "action",
        "reason",
        "session_class",
        "seconds",
        "user",
        "application",
        "statement",
    ]
    list_filter = ["action", "reason", "session_class", "shard", "instance", "at"]
    search_fields = ["=fingerprint", "user", "application", "statement"]
    date_hierarchy = "at"

    @admin.display(description="seconds (budget)", ordering="age_seconds")
    def seconds(self, kill: Kill) -> str:
        return f"{kill.age_seconds:.1f} ({kill.budget_seconds:.1f})"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ServiceRow)
class ServiceAdmin(admin.ModelAdmin):
    """Reads the service registry on each request, as `GET /v1/cluster` does."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """Only the list: the model has no table, so there are no pages of single objects."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        services, search = find_services(), request.GET.get("q", "").strip()
        context = {
            **self.admin_site.each_context(request),
            "title": "Services",
            "search": search,
            "is_known": services is not None,
            "services": [registered for registered in services or () if matches(registered, search)],
        }
        return TemplateResponse(request, "admin/operations/services.html", context)


def matches(registered: RegisteredService, search: str) -> bool:
    """Whether every word of the search occurs in the service's registration. Pure."""
    service = registered.service
    keys = " ".join(service.public_keys or ())
    text = f"{service.kind} {service.host} {service.pid} {service.state} {service.detail} {service.zone} {keys}".lower()
    return all(word in text for word in search.lower().split())

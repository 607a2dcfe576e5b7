"""What the admin pages of the cluster have in common: publishing, looking only, asking before an action."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from configservice.errors import ClusterNotInitialised
from configservice.publication import publish

CONFIRMED = "confirmed"
REASON = "reason"


class PublishingAdmin(admin.ModelAdmin):
    """Saves and publishes in the one transaction that the admin opens around a change."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        self._publish(request, f"{'changed' if change else 'added'} {obj._meta.verbose_name} {obj}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Nothing of the cluster is removed by the handful."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def _publish(self, request: HttpRequest, reason: str) -> None:
        try:
            topology = publish(reason=reason, actor=request.user.get_username())
        except ClusterNotInitialised as error:
            self.message_user(request, f"Saved, but not published: {error}", messages.WARNING)
        else:
            self.message_user(request, f"Epoch {topology.epoch} is published.")


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def is_confirmed(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST


def get_reason(request: HttpRequest) -> str:
    """As typed on the page of `ask`; kept in the history."""
    return str(request.POST.get(REASON, "")).strip()


def ask(
    request: HttpRequest, *, action: str, title: str, lines: Sequence[str], selected: Iterable[Any], label: str
) -> HttpResponse:
    """The page between choosing an action and its being done. `lines` say what it means."""
    context = {
        **admin.site.each_context(request),
        "title": title,
        "lines": lines,
        "selected": list(selected),
        "action": action,
        "label": label,
    }
    return TemplateResponse(request, "admin/configservice/confirm_action.html", context)

"""Base classes and confirmation page of the cluster's admin pages."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from configservice.errors import ClusterNotInitialised
from configservice.topology.publication import publish

CONFIRMED = "confirmed"
REASON = "reason"


class PublishingAdmin(admin.ModelAdmin):
    """Saves and publishes in the one transaction that the admin opens around a change."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        default_reason = f"{'changed' if change else 'added'} {obj._meta.verbose_name} {obj}"
        self._publish(request, get_reason(request) or default_reason)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without Django's bulk deletion: objects of the cluster are removed one by one, with checks."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def _publish(self, request: HttpRequest, reason: str) -> None:
        try:
            topology = publish(reason=reason, actor=request.user.get_username())
        except ClusterNotInitialised as error:
            self.message_user(request, f"Saved, but not published: {error}", messages.WARNING)
        else:
            self.message_user(request, f"Published epoch {topology.epoch}.")


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def is_confirmed(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST


def is_confirmed_with_reason(request: HttpRequest) -> bool:
    return is_confirmed(request) and bool(get_reason(request))


def get_reason(request: HttpRequest) -> str:
    """The reason typed on the confirmation page; stored in the history."""
    return str(request.POST.get(REASON, "")).strip()


def render_confirmation(
    request: HttpRequest,
    *,
    action: str,
    title: str,
    lines: Sequence[str],
    selected: Iterable[Any],
    label: str,
    hidden: Iterable[tuple[str, Any]] = (),
    wants_reason: bool = False,
) -> HttpResponse:
    """The confirmation page of an action. `lines` describe its consequences.

    `hidden`: more form fields that are sent again with the confirmation. With `wants_reason`, the caller must check
    `is_confirmed_with_reason`.
    """
    lacks_reason = wants_reason and is_confirmed(request)
    context = {
        **admin.site.each_context(request),
        "title": title,
        "error": "Nothing was changed: enter a reason. It is stored in the history." if lacks_reason else "",
        "lines": lines,
        "selected": list(selected),
        "hidden": list(hidden),
        "action": action,
        "label": label,
        "wants_reason": wants_reason,
    }
    return TemplateResponse(request, "admin/configservice/confirm_action.html", context)


def list_fields(request: HttpRequest) -> list[tuple[str, str]]:
    """The fields of the submitted form, for `hidden` of `render_confirmation`: they are sent again when confirmed."""
    ours = ("csrfmiddlewaretoken", CONFIRMED, REASON)
    return [(name, value) for name, values in request.POST.lists() if name not in ours for value in values]


def record(request: HttpRequest, objects: Iterable[Any], what: str) -> None:
    """Adds an entry to the admin history of each object: user, instant, `what`, reason. Objects need no table."""
    lines = [
        LogEntry(
            user_id=request.user.pk,
            content_type=ContentType.objects.get_for_model(obj, for_concrete_model=False),
            object_id=str(obj.pk),
            object_repr=str(obj)[:200],
            action_flag=CHANGE,
            change_message=f"{what}: {get_reason(request)}",
        )
        for obj in objects
    ]
    LogEntry.objects.bulk_create(lines)

"""API keys in the admin: create (the key is shown once, in the message), view, revoke. Never shows the secret."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from configservice.admin.base import is_confirmed_with_reason, record, render_confirmation
from viewcounter.apikeys.errors import UnknownKey
from viewcounter.apikeys.keys import create_key, revoke_key, rotate_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.config import get_config

ROTATION_OVERLAP = timedelta(days=1)


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in Scope], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = ApiKey
        fields = [
            "name", "kind", "scopes", "allowed_origins", "expires_at", "requests_per_second", "events_per_second",
        ]  # fmt: skip


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys are revoked, never deleted: the row records until when a key was valid."""

    form = ApiKeyForm
    list_display = ["name", "prefix", "kind", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at"]
    list_filter = ["kind", "revoked_at", "created_at"]
    search_fields = ["name", "prefix"]
    readonly_fields = ["prefix", "created_at", "last_used_at", "revoked_at"]
    actions = ["revoke", "rotate"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        """The kind is part of the token, which has been handed out."""
        return self.readonly_fields if obj is None else [*self.readonly_fields, "kind"]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key, token = create_key(
            obj.name,
            [Scope(s) for s in obj.scopes],
            expires_at=obj.expires_at,
            requests_per_second=obj.requests_per_second,
            events_per_second=obj.events_per_second,
            kind=KeyKind(obj.kind),
            allowed_origins=obj.allowed_origins,
        )
        obj.pk, obj.prefix = key.pk, key.prefix
        messages.warning(request, f"The key, shown only now: {token}")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """A revoked key can be viewed, not changed."""
        is_revoked = obj is not None and obj.revoked_at is not None
        return not is_revoked and bool(super().has_change_permission(request, obj))

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        if not is_confirmed_with_reason(request):
            seconds = get_config().api_key.cache_seconds
            return render_confirmation(
                request,
                action="revoke",
                title=f"Revoke {queryset.count()} API keys",
                lines=[
                    *(_describe(key) for key in queryset),
                    f"Every process refuses them within {seconds:g} seconds. A revoked key never works again.",
                ],
                selected=queryset.values_list("pk", flat=True),
                label="Revoke",
                wants_reason=True,
            )
        for key in queryset:
            try:
                with transaction.atomic():
                    record(request, [revoke_key(key.prefix, now=timezone.now())], "Revoked")
            except UnknownKey as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{key} is revoked.")
        return None

    @admin.action(description="Rotate the selected keys; the old ones work for another day", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        if not is_confirmed_with_reason(request):
            return render_confirmation(
                request,
                action="rotate",
                title=f"Rotate {queryset.count()} API keys",
                lines=[
                    *(_describe(key) for key in queryset),
                    "Each gets a successor with the same rights and limits, which is shown once. The old key works for "
                    f"another {ROTATION_OVERLAP.total_seconds() / 3600:.0f} hours.",
                ],
                selected=queryset.values_list("pk", flat=True),
                label="Rotate",
                wants_reason=True,
            )
        for old in queryset:
            try:
                with transaction.atomic():
                    new, token = rotate_key(old.prefix, overlap=ROTATION_OVERLAP, now=timezone.now())
                    record(request, [old], f"Rotated, {new.prefix} follows")
                    record(request, [new], f"Made by rotating {old.prefix}")
            except UnknownKey as error:
                messages.error(request, str(error))
            else:
                messages.warning(request, f"The key that follows {old.prefix}, shown only now: {token}")
        return None

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False


def _describe(key: ApiKey) -> str:
    used = "never used" if key.last_used_at is None else f"last used at {key.last_used_at:%Y-%m-%d %H:%M} UTC"
    return f"{key}, {key.kind}, {', '.join(key.scopes)}: {used}."

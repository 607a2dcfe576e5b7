"""API keys in the admin: create (the key is shown once, in the message), look, revoke. Never the secret."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from viewcounter.gateway.errors import UnknownKey
from viewcounter.gateway.keys import create_key, rotate_key
from viewcounter.gateway.models import ApiKey
from viewcounter.gateway.scopes import KeyKind, Scope

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
    """Keys are revoked, never deleted: the row says until when a key could be used."""

    form = ApiKeyForm
    list_display = ["name", "prefix", "kind", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at"]
    list_filter = ["kind", "revoked_at", "created_at"]
    search_fields = ["name", "prefix"]
    readonly_fields = ["prefix", "created_at", "last_used_at", "revoked_at"]
    actions = ["revoke", "rotate"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        """The kind stands in the token, which its bearer has."""
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

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        count = queryset.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())
        messages.success(request, f"Revoked {count} keys. Every process forgets them within seconds.")

    @admin.action(description="Replace the selected keys; the old ones work for another day", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for old in queryset:
            try:
                _, token = rotate_key(old.prefix, overlap=ROTATION_OVERLAP, now=timezone.now())
            except UnknownKey as error:
                messages.error(request, str(error))
            else:
                messages.warning(request, f"The key that follows {old.prefix}, shown only now: {token}")

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

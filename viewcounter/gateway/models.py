"""API keys, in the control database. The secret itself is never stored and cannot be shown again."""

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from viewcounter.gateway.scopes import Scope

SECRET_DIGEST_BYTES = 32


def validate_scopes(scopes: object) -> None:
    """Raises ValidationError unless `scopes` is a non-empty list of known scopes, each once."""
    known = {scope.value for scope in Scope}
    if not isinstance(scopes, list) or not scopes or len(set(map(str, scopes))) != len(scopes):
        raise ValidationError("Give at least one scope, each once.", code="invalid_scopes")
    for scope in scopes:
        if scope not in known:
            raise ValidationError(f"Unknown scope: {scope}", code="unknown_scope")


class ApiKey(models.Model):
    """A bearer of scopes, named by `prefix`. Invariant: a revoked key is never made valid again."""

    prefix = models.CharField(max_length=16, unique=True, editable=False, help_text="the visible part of the key")
    secret_sha256 = models.BinaryField(max_length=SECRET_DIGEST_BYTES, editable=False)
    name = models.CharField(max_length=100, help_text="who uses this key")
    scopes = models.JSONField(validators=[validate_scopes])
    requests_per_second = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="of all processes together; empty: no limit"
    )
    events_per_second = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="of all processes together; empty: no limit"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="empty: never")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="to about a minute")

    class Meta:
        verbose_name = "API key"
        ordering = ["name", "prefix"]

    def __str__(self) -> str:
        return f"{self.name} (vc_{self.prefix}_…)"

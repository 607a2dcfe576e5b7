"""API keys, in the control database. The secret itself is never stored and cannot be shown again."""

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from viewcounter.apikeys.origins import find_origin_fault
from viewcounter.apikeys.scopes import PUBLIC_SCOPES, KeyKind, Scope

SECRET_DIGEST_BYTES = 32
ORIGINS_MAX = 100
KINDS = [
    (KeyKind.SECRET.value, "secret: for programs"),
    (KeyKind.PUBLIC.value, "public: for web pages"),
    (KeyKind.LINK.value, "link: for people who look at counts"),
]


LIMIT_HELP = "of all processes together; empty: no limit, for a public key that of the settings"


def validate_scopes(scopes: object) -> None:
    """Raises ValidationError unless `scopes` is a non-empty list of known scopes, each once."""
    known = {scope.value for scope in Scope}
    if not isinstance(scopes, list) or not scopes or len(set(map(str, scopes))) != len(scopes):
        raise ValidationError("Give at least one scope, each once.", code="invalid_scopes")
    for scope in scopes:
        if scope not in known:
            raise ValidationError(f"Unknown scope: {scope}", code="unknown_scope")


def validate_origins(origins: object) -> None:
    """Raises ValidationError unless `origins` is a list of origins as browsers send them, each once."""
    if not isinstance(origins, list) or len(origins) > ORIGINS_MAX or len(set(map(str, origins))) != len(origins):
        raise ValidationError(f"Give a list of at most {ORIGINS_MAX} origins, each once.", code="invalid_origins")
    for origin in origins:
        fault = find_origin_fault(origin) if isinstance(origin, str) else "is not text"
        if fault is not None:
            raise ValidationError(f"{origin} {fault}.", code="invalid_origin")


class ApiKey(models.Model):
    """A bearer of scopes, named by `prefix`. Invariants: a revoked key is never made valid again; a key never changes
    its kind; a public one sends events and reads counts, for pages of the origins it names, and nothing else."""

    prefix = models.CharField(max_length=16, unique=True, editable=False, help_text="the visible part of the key")
    secret_sha256 = models.BinaryField(max_length=SECRET_DIGEST_BYTES, editable=False)
    name = models.CharField(max_length=100, help_text="who uses this key")
    scopes = models.JSONField(validators=[validate_scopes])
    requests_per_second = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text=LIMIT_HELP
    )
    events_per_second = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text=LIMIT_HELP
    )
    kind = models.CharField(max_length=10, choices=KINDS, default=KeyKind.SECRET.value)
    allowed_origins = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_origins],
        help_text='of pages that use a public key, such as ["https://www.example.com"]',
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="empty: never")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="to about a minute")

    class Meta:
        verbose_name = "API key"
        ordering = ["name", "prefix"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    def clean(self) -> None:
        super().clean()
        is_public = self.kind == KeyKind.PUBLIC
        if is_public and not set(self.scopes) <= PUBLIC_SCOPES:
            allowed = ", ".join(sorted(PUBLIC_SCOPES))
            raise ValidationError({"scopes": f"A public key may have these scopes and no other: {allowed}."})
        if self.kind == KeyKind.LINK and self.scopes != [Scope.STATS_READ.value]:
            raise ValidationError({"scopes": f"A link has the scope {Scope.STATS_READ} and no other."})
        if is_public and not self.allowed_origins:
            raise ValidationError({"allowed_origins": "A public key names the origins of the pages that use it."})
        if not is_public and self.allowed_origins:
            raise ValidationError({"allowed_origins": "Only public keys are bound to origins."})

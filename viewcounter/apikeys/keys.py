"""Creates, rotates, revokes and lists API keys; a token is shown once, when its key is created.

A token is `vc_<prefix>_<secret>`; the token of a public key begins with `vcp_`, so that anybody sees which tokens are
no secret. The prefix finds the row; the secret, 256 random bits, is compared by its SHA-256: with that much entropy a
slow password hash would protect nothing and cost every request.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db import transaction

from viewcounter.apikeys.authentication import TOKEN_STARTS
from viewcounter.apikeys.errors import UnknownKey
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind, Scope


def create_key(
    name: str,
    scopes: Sequence[Scope],
    *,
    expires_at: datetime | None = None,
    requests_per_second: int | None = None,
    events_per_second: int | None = None,
    kind: KeyKind = KeyKind.SECRET,
    allowed_origins: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Stores a new key; returns the key and its token, which cannot be shown again.

    Raises django's ValidationError for an empty or overlong name, for bad scopes, limits or origins.
    """
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(
        prefix=prefix,
        secret_sha256=hashlib.sha256(secret.encode()).digest(),
        name=name,
        scopes=[str(scope) for scope in scopes],
        expires_at=expires_at,
        requests_per_second=requests_per_second,
        events_per_second=events_per_second,
        kind=kind,
        allowed_origins=list(allowed_origins),
    )
    key.full_clean()
    key.save()
    return key, f"{TOKEN_STARTS[kind]}_{prefix}_{secret}"


def rotate_key(prefix: str, *, overlap: timedelta, now: datetime) -> tuple[ApiKey, str]:
    """A new key with the rights and limits of the old one, which keeps working for `overlap`.

    Returns the new key and its token. Raises UnknownKey for a prefix without a valid key.
    """
    with transaction.atomic():
        old = _lock_valid_key(prefix, now=now)
        key, token = create_key(
            old.name,
            [Scope(scope) for scope in old.scopes],
            expires_at=old.expires_at,
            requests_per_second=old.requests_per_second,
            events_per_second=old.events_per_second,
            kind=KeyKind(old.kind),
            allowed_origins=old.allowed_origins,
        )
        ends_at = now + overlap
        old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
        old.save(update_fields=["expires_at"])
    return key, token


def revoke_key(prefix: str, *, now: datetime) -> ApiKey:
    """Every process refuses it within `api_key_cache_seconds`. Raises UnknownKey."""
    with transaction.atomic():
        key = _lock_valid_key(prefix, now=now)
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
    return key


def list_keys() -> Iterator[ApiKey]:
    """Every key, expired and revoked ones included, by name."""
    yield from ApiKey.objects.order_by("name", "created_at").iterator()


def _lock_valid_key(prefix: str, *, now: datetime) -> ApiKey:
    key: ApiKey | None = ApiKey.objects.select_for_update().filter(prefix=prefix, revoked_at__isnull=True).first()
    if key is None or (key.expires_at is not None and key.expires_at <= now):
        raise UnknownKey(f"no valid API key has the prefix {prefix}")
    return key

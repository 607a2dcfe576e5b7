"""API keys: made once, shown once, checked at every request by the lane and by the REST views alike.

A token is `vc_<prefix>_<secret>`; that of a public key begins with `vcp_`, so that anybody sees which may be shown. The
prefix finds the row; the secret, 256 random bits, is compared by its SHA-256: with that much entropy a slow password
hash would protect nothing and cost every request.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import Q

from viewcounter.apikeys.key_cache import AuthenticatedKey, KeyCache
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.config import get_config
from viewcounter.ingest.errors import InvalidKey, KeysUnavailable, UnknownKey

logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"(vcp?)_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_STARTS = {KeyKind.SECRET: "vc", KeyKind.PUBLIC: "vcp"}
LAST_USED_SECONDS = 60.0
_NOBODYS_DIGEST = hashlib.sha256(b"").digest()


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
    """Store a new key; returns it and its token, which cannot be had again.

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
    return key, f"{_STARTS[kind]}_{prefix}_{secret}"


def rotate_key(prefix: str, *, overlap: timedelta, now: datetime) -> tuple[ApiKey, str]:
    """A new key with the rights and limits of the old one, which goes on working for `overlap`.

    Returns the new key and its token. Raises UnknownKey for a key that does not exist, has expired or was revoked.
    """
    with transaction.atomic():
        old = _get_living_key(prefix, now=now)
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
        key = _get_living_key(prefix, now=now)
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
    return key


def list_keys() -> Iterator[ApiKey]:
    """Every key there is or was, by name."""
    yield from ApiKey.objects.order_by("name", "created_at").iterator()


def is_valid(token: str, *, now: datetime) -> bool:
    """Asks the control database whatever the cache says, and counts as no use."""
    try:
        start, prefix, secret = _split(token)
    except InvalidKey:
        return False
    row = ApiKey.objects.filter(prefix=prefix, revoked_at__isnull=True).first()
    return (
        row is not None
        and hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), bytes(row.secret_sha256))
        and start == _STARTS[KeyKind(row.kind)]
        and (row.expires_at is None or row.expires_at > now)
    )


def _get_living_key(prefix: str, *, now: datetime) -> ApiKey:
    key: ApiKey | None = ApiKey.objects.select_for_update().filter(prefix=prefix, revoked_at__isnull=True).first()
    if key is None or (key.expires_at is not None and key.expires_at <= now):
        raise UnknownKey(f"no living API key has the prefix {prefix}")
    return key


def authenticate(token: str) -> AuthenticatedKey:
    """The key of a token. Blocks for one query on the control database unless the answer is cached.

    Raises InvalidKey, or KeysUnavailable when the control database is down and the key is not known here.
    """
    digest = digest_token(token)
    key = find_cached(digest)
    if key is not None:
        return key
    return look_up(token, digest)


def is_public_token(token: str) -> bool:
    """By its looks; whether it is valid is another question."""
    return token.startswith(f"{_STARTS[KeyKind.PUBLIC]}_")


def digest_token(token: str) -> bytes:
    """What the cache knows a token by. Raises InvalidKey for text that no token can be."""
    _split(token)
    return hashlib.sha256(token.encode()).digest()


def find_cached(digest: bytes) -> AuthenticatedKey | None:
    """The key if it need not be looked up now. Raises InvalidKey for a cached refusal."""
    answer = get_key_cache().find(digest)
    if answer is None or time.monotonic() - answer.asked_at > get_config().api_key_cache_seconds:
        return None
    return _check(answer.key)


def look_up(token: str, digest: bytes) -> AuthenticatedKey:
    """Ask the control database and cache what it says. Raises as `authenticate` does."""
    try:
        key = _read_key(token)
    except DatabaseError as error:
        return get_last_known(digest, reason=str(error))
    get_key_cache().confirm(digest, key, now=time.monotonic())
    return _check(key)


def get_last_known(digest: bytes, *, reason: str) -> AuthenticatedKey:
    """The key as the control database last confirmed it, if that is not too long ago.

    While it does not answer, a known key goes on working for `api_key_grace_seconds`, so that events are
    accepted; it is asked again every `api_key_cache_seconds`. Raises KeysUnavailable, or InvalidKey for a
    known refusal.
    """
    now, config, key_cache = time.monotonic(), get_config(), get_key_cache()
    answer = key_cache.find(digest)
    if answer is None or now - answer.confirmed_at > config.api_key_cache_seconds + config.api_key_grace_seconds:
        raise KeysUnavailable(reason)
    key_cache.note_asked(digest, now=now)
    key = _check(answer.key)
    logger.warning("key %s goes on working as last known, the control database does not answer: %s", key.prefix, reason)
    return key


def knows_key() -> bool:
    """Whether `get_last_known` would let any key work."""
    config = get_config()
    known_for_seconds = config.api_key_cache_seconds + config.api_key_grace_seconds
    return get_key_cache().has_key_confirmed_since(time.monotonic() - known_for_seconds)


def look_up_in_thread(token: str, digest: bytes, has_more: Callable[[], bool] = lambda: False) -> AuthenticatedKey:
    """`look_up` for a thread of its own, where no Django request opens and closes the connection.

    It is kept for the next look-up while there are more: connecting costs many times what the question does. If another
    thread takes the last one, it is kept until the next one that this thread takes.
    """
    if connection.errors_occurred:
        connection.close()
    try:
        return look_up(token, digest)
    finally:
        if connection.errors_occurred or not has_more():
            connection.close()


@cache
def get_key_cache() -> KeyCache:
    """The one cache of this process."""
    return KeyCache(max_keys=get_config().api_key_cache_max)


def _check(key: AuthenticatedKey | None) -> AuthenticatedKey:
    if key is None or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
        raise InvalidKey
    return key


def _read_key(token: str) -> AuthenticatedKey | None:
    """None for a token that is not valid. One query and one comparison, whatever is wrong with it."""
    start, prefix, secret = _split(token)
    row = ApiKey.objects.filter(prefix=prefix, revoked_at__isnull=True).first()
    expected = _NOBODYS_DIGEST if row is None else bytes(row.secret_sha256)
    matches = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected)
    if row is None or not matches or start != _STARTS[KeyKind(row.kind)]:
        return None
    _note_use(row)
    scopes = frozenset(scope for scope in Scope if scope in row.scopes)
    return AuthenticatedKey(
        row.prefix,
        row.name,
        scopes,
        row.expires_at,
        *_get_limits(row),
        is_public=row.kind == KeyKind.PUBLIC,
        allowed_origins=frozenset(row.allowed_origins),
    )


def _get_limits(row: ApiKey) -> tuple[int | None, int | None]:
    """Requests and events a second. Everybody has a public key: without limits of its own it has the settings'."""
    requests, events = row.requests_per_second, row.events_per_second
    if row.kind != KeyKind.PUBLIC:
        return requests, events
    config = get_config()
    return (
        requests or config.public_key_requests_per_second or None,
        events or config.public_key_events_per_second or None,
    )


def _note_use(row: ApiKey) -> None:
    """A key in use is looked up every few seconds by each process; one write a minute is enough for all of them."""
    now = datetime.now(UTC)
    earlier = now - timedelta(seconds=LAST_USED_SECONDS)
    if row.last_used_at is None or row.last_used_at < earlier:
        is_due = Q(last_used_at__isnull=True) | Q(last_used_at__lt=earlier)
        ApiKey.objects.filter(is_due, pk=row.pk).update(last_used_at=now)


def _split(token: str) -> tuple[str, str, str]:
    """Start, prefix and secret. Raises InvalidKey for text that no token can be."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidKey
    return match[1], match[2], match[3]

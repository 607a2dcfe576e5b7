"""Authentication by API key: what this process knows of keys, and how it learns more from the control database.

A cached answer costs no wait. Look-ups of the event loop run on threads, bounded in number and time, and all requests
with one token share one: a slow control database or a flood of invented keys takes nothing from clients whose keys are
cached. The cache is bounded in number and age, so a revoked key stops working within `api_key_cache_seconds`. Its
index is the SHA-256 of the whole token: tokens are never kept, and the time of a look-up says nothing about any of
them. Refusals have an index of their own, so that a flood of invented keys cannot push out the real ones.

While the control database does not answer, the newest known state of a key counts, of this cache or of the host's copy
(`key_copy`), however old it is; only the scope `admin` then ends after a time. A revocation known to either holds.
"""

import hashlib
import hmac
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Q

from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from runtime.singleflight import AsyncSingleFlight, TooManyFlights
from runtime.transitions import OutageLog
from viewcounter.apikeys.errors import ControlDatabaseEmpty, InvalidKey, KeysUnavailable
from viewcounter.apikeys.key_copy import build_record, check_holds_cluster, get_key_copy
from viewcounter.apikeys.key_file import KeyRecord
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import AuthenticatedKey, KeyKind, Scope
from viewcounter.config import get_config

logger = logging.getLogger(__name__)

TOKEN_STARTS = {KeyKind.SECRET: "vc", KeyKind.PUBLIC: "vcp", KeyKind.LINK: "vcl"}
_TOKEN = re.compile(r"(vc[pl]?)_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_LAST_USED_SECONDS = 60.0
_NOBODYS_DIGEST = hashlib.sha256(b"").digest()
_LOOKUP_THREADS = 2
_SCHEME = b"bearer "

_outage = OutageLog(
    logger,
    failed="the control database does not confirm API keys, known ones stay valid",
    recovered="the control database confirms API keys again",
    quiet_seconds=10.0,  # some look-ups fail while others succeed, when too many wait for it
)
_outage_lock = threading.Lock()  # look-ups end on several threads


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """`key` is None for a refusal. Times are seconds of the caller's monotonic clock.

    `confirmed_at`: time of the last answer of the control database. `asked_at`: time of the last query, answered or
    not.
    """

    key: AuthenticatedKey | None
    confirmed_at: float
    asked_at: float


class KeyCache:
    """Evicts the answer first whose key was queried least recently. Thread-safe."""

    def __init__(self, *, max_keys: int) -> None:
        self._max_keys = max_keys
        self._valid: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._refused: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._lock = threading.Lock()  # guards both indexes: a digest is in at most one of them

    def find(self, token_digest: bytes) -> CachedAnswer | None:
        """The last answer, however old: the caller decides whether it may still be used."""
        return self._valid.get(token_digest) or self._refused.get(token_digest)

    def confirm(self, token_digest: bytes, key: AuthenticatedKey | None, *, now: float) -> CachedAnswer:
        """Records an answer of the control database, and returns it."""
        answer = CachedAnswer(key, confirmed_at=now, asked_at=now)
        self._put(token_digest, answer)
        return answer

    def record_asked(self, token_digest: bytes, answer: CachedAnswer, *, now: float) -> None:
        """Records a query that got no answer: `answer` stays as old as it is, but is not queried again at once."""
        self._put(token_digest, replace(answer, asked_at=now))

    def has_valid_key(self) -> bool:
        now = datetime.now(UTC)
        with self._lock:
            keys = [answer.key for answer in self._valid.values()]
        return any(key is not None and (key.expires_at is None or key.expires_at > now) for key in keys)

    def clear(self) -> None:
        with self._lock:
            self._valid.clear()
            self._refused.clear()

    def _put(self, token_digest: bytes, answer: CachedAnswer) -> None:
        index, other = (self._refused, self._valid) if answer.key is None else (self._valid, self._refused)
        with self._lock:
            other.pop(token_digest, None)
            index[token_digest] = answer
            index.move_to_end(token_digest)
            while len(index) > self._max_keys:
                index.popitem(last=False)


def authenticate(token: str) -> AuthenticatedKey:
    """The key of a token. Blocks for one query on the control database unless the answer is cached.

    Raises InvalidKey, or KeysUnavailable when the control database is down and the key is not known here.
    """
    digest = digest_token(token)
    key = find_cached(digest)
    return look_up(token, digest) if key is None else key


def is_public_token(token: str) -> bool:
    """Whether the token has the prefix of public keys, valid or not."""
    return token.startswith(f"{TOKEN_STARTS[KeyKind.PUBLIC]}_")


def is_link_token(token: str) -> bool:
    """Whether the token has the prefix of links, valid or not."""
    return token.startswith(f"{TOKEN_STARTS[KeyKind.LINK]}_")


def read_key_of_address(token: str) -> bytes:
    """The Authorization header for a public key. Raises Rejected (401) for a secret one: logs record addresses."""
    if not is_public_token(token):
        detail = "Only a public key (vcp_…) may be in the URL. A secret key in a URL is no longer secret: replace it."
        raise Rejected(Problem(status=401, code="secret_key_in_address", detail=detail))
    return b"Bearer " + token.encode("latin-1", "replace")


def digest_token(token: str) -> bytes:
    """Cache key of a token. Raises InvalidKey for a malformed token."""
    if _TOKEN.fullmatch(token) is None:
        raise InvalidKey
    return hashlib.sha256(token.encode()).digest()


def find_cached(digest: bytes) -> AuthenticatedKey | None:
    """The key if it is cached and need not be looked up again. Raises InvalidKey for a cached refusal."""
    answer = get_key_cache().find(digest)
    if answer is None or time.monotonic() - answer.asked_at > get_config().api_key.cache_seconds:
        return None
    return _check(answer)


def look_up(token: str, digest: bytes) -> AuthenticatedKey:
    """Queries the control database and caches its answer. Raises as `authenticate` does."""
    try:
        key = _read_key(token)
    except (ControlDatabaseEmpty, DatabaseError) as error:
        return get_last_known(token, digest, reason=str(error))
    with _outage_lock:
        _outage.report_success()
    answer = get_key_cache().confirm(digest, key, now=time.monotonic())
    copied = _find_in_copy(token)
    if key != (None if copied is None else copied.key):
        get_key_copy().request_refresh()  # or a restart would forget a new key, a change or a revocation
    return _check(answer)


def get_last_known(token: str, digest: bytes, *, reason: str) -> AuthenticatedKey:
    """The key as the control database last confirmed it, to this process or to another one of this host.

    The query is repeated every `api_key_cache_seconds`. Raises KeysUnavailable, or InvalidKey for a known refusal.
    """
    now, key_cache = time.monotonic(), get_key_cache()
    known = [answer for answer in (key_cache.find(digest), _find_in_copy(token)) if answer is not None]
    if not known:
        raise KeysUnavailable(reason)
    # A revoked key never becomes valid again, so a refusal holds whichever of the two is newer.
    answer = min(known, key=lambda answer: (answer.key is not None, -answer.confirmed_at))
    key_cache.record_asked(digest, answer, now=now)
    with _outage_lock:
        _outage.report_failure(reason)
    return _check(answer)


def knows_key() -> bool:
    """Whether `get_last_known` would return any key."""
    if get_key_cache().has_valid_key():
        return True
    now = datetime.now(UTC)
    records = get_key_copy().keys.records.values()
    return any(r.revoked_at is None and (r.expires_at is None or r.expires_at > now) for r in records)


def look_up_in_thread(token: str, digest: bytes, has_more: Callable[[], bool] = lambda: False) -> AuthenticatedKey:
    """`look_up` for a worker thread, where no Django request opens and closes the connection.

    The connection stays open while more look-ups wait: connecting costs many times the query. If another thread takes
    the last look-up, the connection stays open until this thread's next one.
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
    return KeyCache(max_keys=get_config().api_key.cache_max)


def _check(answer: CachedAnswer) -> AuthenticatedKey:
    key = answer.key
    if key is None or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
        raise InvalidKey
    if Scope.ADMIN not in key.scopes:
        return key
    if time.monotonic() - answer.confirmed_at <= get_config().api_key.admin_unconfirmed_seconds:
        return key
    return replace(key, scopes=key.scopes - {Scope.ADMIN}, unconfirmed_scopes=frozenset({Scope.ADMIN}))


def _read_key(token: str) -> AuthenticatedKey | None:
    """None for an invalid token. Raises ControlDatabaseEmpty."""
    row = _find_row(token)
    if row is None:
        check_holds_cluster()
        return None
    _record_use(row)
    return _build_key(build_record(row))


def _find_in_copy(token: str) -> CachedAnswer | None:
    """None for a key that is not in the host's copy."""
    copied = get_key_copy().keys
    start, prefix, secret = _split(token)
    record = copied.records.get(prefix)
    if record is None:
        return None
    is_valid = _matches(record, start=start, secret=secret) and record.revoked_at is None
    return CachedAnswer(_build_key(record) if is_valid else None, confirmed_at=copied.read_at, asked_at=0.0)


def _build_key(record: KeyRecord) -> AuthenticatedKey:
    return AuthenticatedKey(
        record.prefix,
        record.name,
        frozenset(scope for scope in Scope if scope in record.scopes),
        record.expires_at,
        *_get_limits(record),
        is_public=record.kind is KeyKind.PUBLIC,
        allowed_origins=frozenset(record.allowed_origins),
    )


def is_valid(token: str, *, now: datetime) -> bool:
    """Queries the control database, never the cache, and does not count as a use of the key."""
    try:
        row = _find_row(token)
    except InvalidKey:
        return False
    return row is not None and (row.expires_at is None or row.expires_at > now)


def _find_row(token: str) -> ApiKey | None:
    """The unrevoked key of a token, expired or not. One query and one comparison in every case. Raises InvalidKey."""
    start, prefix, secret = _split(token)
    row: ApiKey | None = ApiKey.objects.filter(prefix=prefix, revoked_at__isnull=True).first()
    record = None if row is None else build_record(row)
    return row if _matches(record, start=start, secret=secret) else None


def _split(token: str) -> tuple[str, str, str]:
    """Start, prefix and secret. Raises InvalidKey."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidKey
    start, prefix, secret = match.groups()
    return start, prefix, secret


def _matches(record: KeyRecord | None, *, start: str, secret: str) -> bool:
    """Takes as long without a record as with one."""
    expected = _NOBODYS_DIGEST if record is None else record.secret_sha256
    matches = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected)
    return record is not None and matches and start == TOKEN_STARTS[record.kind]


def _get_limits(record: KeyRecord) -> tuple[int | None, int | None]:
    """Requests and events a second. A public key without limits of its own has those of the settings: anybody may
    use it."""
    requests, events = record.requests_per_second, record.events_per_second
    if record.kind is not KeyKind.PUBLIC:
        return requests, events
    config = get_config()
    return (
        requests or config.public_key.requests_per_second or None,
        events or config.public_key.events_per_second or None,
    )


def _record_use(row: ApiKey) -> None:
    """Writes `last_used_at` at most once a minute: each process looks up a key in use every few seconds."""
    now = datetime.now(UTC)
    earlier = now - timedelta(seconds=_LAST_USED_SECONDS)
    if row.last_used_at is None or row.last_used_at < earlier:
        is_due = Q(last_used_at__isnull=True) | Q(last_used_at__lt=earlier)
        ApiKey.objects.filter(is_due, pk=row.pk).update(last_used_at=now)


class KeyAuthenticator:
    """Lives on one event loop. Invariant: a token is looked up at most once at a time."""

    def __init__(self, *, max_lookups: int, timeout_seconds: float) -> None:
        self._lookups: AsyncSingleFlight[AuthenticatedKey] = AsyncSingleFlight(
            "api-keys", max_threads=_LOOKUP_THREADS, max_flights=max_lookups, timeout_seconds=timeout_seconds
        )

    async def authenticate(self, authorization: bytes | None) -> AuthenticatedKey:
        """`authorization` is the raw header. Raises InvalidKey or KeysUnavailable."""
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise InvalidKey
        token = authorization[len(_SCHEME) :].decode("latin-1").strip()
        digest = digest_token(token)
        key = find_cached(digest)
        return key if key is not None else await self._look_up(token, digest)

    def close(self) -> None:
        self._lookups.close()

    async def _look_up(self, token: str, digest: bytes) -> AuthenticatedKey:
        """Waits until the deadline of the look-up, which another request may have started.

        After one that was not answered, requests with known keys do not wait: look-ups go on beside them.
        """
        try:
            if _outage.failures:
                self._lookups.start(digest, lambda: self._look_up_in_thread(token, digest))
                with suppress(KeysUnavailable):
                    return get_last_known(token, digest, reason="it did not answer the last query")
            return await self._lookups.run(digest, lambda: self._look_up_in_thread(token, digest))
        except TooManyFlights:
            return get_last_known(token, digest, reason="too many keys are being looked up")
        except TimeoutError:
            return get_last_known(token, digest, reason="it did not answer in time")

    def _look_up_in_thread(self, token: str, digest: bytes) -> AuthenticatedKey:
        return look_up_in_thread(token, digest, has_more=lambda: self._lookups.waiting_count > 0)

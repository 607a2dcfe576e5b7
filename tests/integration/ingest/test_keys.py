"""API keys on the real control database: made, checked, revoked, rotated, and outliving a dead database."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError

from devtools.local.keys import ensure_local_keys
from devtools.localcluster.cluster import LocalCluster
from devtools.localcluster.spec import STATUS_KEY, TRYOUT_KEY
from devtools.localcluster.state import StateFolder
from viewcounter.apikeys.authentication import (
    KeyAuthenticator,
    authenticate,
    digest_token,
    get_key_cache,
    look_up_in_thread,
)
from viewcounter.apikeys.errors import InvalidKey, KeysUnavailable, UnknownKey
from viewcounter.apikeys.keys import create_key, revoke_key, rotate_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope
from viewcounter.config import get_config
from viewcounter.controlplane.postgresql.base import DatabaseWrapper

pytestmark = pytest.mark.usefixtures("control_database")


def forget_freshness(token: str) -> None:
    """As if the cached answer had been got just longer ago than it is trusted."""
    cache = get_key_cache()
    answer = cache.find(digest_token(token))
    assert answer is not None
    cache.confirm(
        digest_token(token),
        answer.key,
        now=answer.confirmed_at - get_config().api_key.cache_seconds - 1.0,
    )


def revoke(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=datetime.now(UTC))


def test_created_key_authenticates_with_its_scopes_and_its_secret_is_not_stored() -> None:
    key, token = create_key("app", [Scope.EVENTS_WRITE, Scope.STATS_READ])
    got = authenticate(token)
    assert (got.prefix, got.name, got.scopes) == (key.prefix, "app", {Scope.EVENTS_WRITE, Scope.STATS_READ})
    secret = token.rsplit(f"{key.prefix}_")[1]
    row = ApiKey.objects.values().get()
    assert secret.encode() not in bytes(row["secret_sha256"])
    assert secret not in str({name: value for name, value in row.items() if name != "secret_sha256"})


def test_wrong_secret_unknown_prefix_and_malformed_tokens_are_invalid() -> None:
    _, token = create_key("app", [Scope.ADMIN])
    wrong_secret = token[:-1] + ("A" if token[-1] != "A" else "B")
    unknown_prefix = "vc_" + "0" * 12 + token[15:]
    for bad in (
        wrong_secret,
        unknown_prefix,
        token + "x",
        token[3:],
        "",
        "vc__",
        "vc_\x00",
        token.replace("vc_", "VC_"),
    ):
        with pytest.raises(InvalidKey):
            authenticate(bad)


def test_revoked_key_is_refused_once_the_cached_answer_is_old() -> None:
    key, token = create_key("app", [Scope.ADMIN])
    authenticate(token)
    revoke(key)
    authenticate(token)
    forget_freshness(token)
    with pytest.raises(InvalidKey):
        authenticate(token)


def test_refusal_is_cached_and_asked_again_when_old() -> None:
    key, token = create_key("app", [Scope.ADMIN])
    revoke(key)
    with pytest.raises(InvalidKey):
        authenticate(token)
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=None)
    with pytest.raises(InvalidKey):
        authenticate(token)
    forget_freshness(token)
    assert authenticate(token).prefix == key.prefix


def test_expired_key_is_refused() -> None:
    _, token = create_key("app", [Scope.ADMIN], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(InvalidKey):
        authenticate(token)


@pytest.mark.parametrize("scopes", [[], ["events:read"], ["admin", "admin"]])
def test_key_with_bad_scopes_is_not_created(scopes: list[str]) -> None:
    with pytest.raises(ValidationError):
        create_key("app", scopes)
    assert ApiKey.objects.count() == 0


def test_known_key_works_while_the_control_database_is_down(
    control_database: LocalCluster,
) -> None:
    _, known = create_key("known", [Scope.EVENTS_WRITE])
    _, unknown = create_key("unknown", [Scope.EVENTS_WRITE])
    authenticate(known)
    forget_freshness(known)
    control = control_database.server("control")
    control.kill()
    try:
        assert authenticate(known).name == "known"
        assert authenticate(known).name == "known"
        with pytest.raises(KeysUnavailable):
            authenticate(unknown)
        answer = get_key_cache().find(digest_token(known))
        assert answer is not None
        get_key_cache().confirm(digest_token(known), answer.key, now=answer.confirmed_at - 30 * 86_400.0)
        assert authenticate(known).name == "known"
    finally:
        control.start()
        control.wait_ready()
    assert look_up_in_thread(unknown, digest_token(unknown)).name == "unknown"


def test_frozen_control_database_delays_the_first_request_and_no_other(control_database: LocalCluster) -> None:
    tokens = {name: create_key(name, [Scope.EVENTS_WRITE])[1] for name in ("first", "other")}
    for token in tokens.values():
        authenticate(token)
        forget_freshness(token)
    control = control_database.server("control")

    async def authenticate_all() -> None:
        authenticator = KeyAuthenticator(max_lookups=2, timeout_seconds=0.3)
        control.pause()
        try:
            assert (await authenticator.authenticate(f"Bearer {tokens['first']}".encode())).name == "first"
            for name in ("first", "first", "other"):
                forget_freshness(tokens[name])
                authenticated = asyncio.create_task(authenticator.authenticate(f"Bearer {tokens[name]}".encode()))
                for _ in range(10):  # turns of the loop: nobody waits for a time to pass
                    await asyncio.sleep(0)
                assert authenticated.done()
                assert authenticated.result().name == name
        finally:
            control.resume()
            authenticator.close()

    asyncio.run(authenticate_all())


def test_lane_shares_one_look_up_among_concurrent_requests_and_bounds_their_number() -> None:
    _, token = create_key("app", [Scope.EVENTS_WRITE])
    header = f"Bearer {token}".encode()
    others = [create_key(f"app {number}", [Scope.ADMIN])[1].encode() for number in range(3)]

    async def authenticate_all() -> tuple[list[str], list[BaseException | AuthenticatedKey]]:
        authenticator = KeyAuthenticator(max_lookups=2, timeout_seconds=5.0)
        shared = await asyncio.gather(*(authenticator.authenticate(header) for _ in range(20)))
        crowd = await asyncio.gather(
            *(authenticator.authenticate(b"bearer " + other) for other in others), return_exceptions=True
        )
        authenticator.close()
        return [key.name for key in shared], crowd

    names, crowd = asyncio.run(authenticate_all())
    assert names == ["app"] * 20
    assert [type(outcome).__name__ for outcome in crowd] == ["AuthenticatedKey", "AuthenticatedKey", "KeysUnavailable"]


def test_look_ups_in_a_row_share_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, connect = [], DatabaseWrapper.get_new_connection
    monkeypatch.setattr(
        DatabaseWrapper, "get_new_connection", lambda self, params: opened.append(connect(self, params)) or opened[-1]
    )

    async def look_up(count: int) -> None:
        authenticator = KeyAuthenticator(max_lookups=count, timeout_seconds=30.0)
        tokens = [f"bearer vc_{number:012x}_{'x' * 43}".encode() for number in range(count)]
        await asyncio.gather(*(authenticator.authenticate(token) for token in tokens), return_exceptions=True)
        authenticator.close()

    asyncio.run(look_up(40))
    assert 1 <= len(opened) <= 4  # two threads; one may have found nothing more to do for a moment
    assert sum(not connection.closed for connection in opened) <= 1


def test_rotated_key_works_beside_its_successor_for_the_overlap_and_not_longer() -> None:
    key, token = create_key("app", [Scope.STATS_READ], requests_per_second=7)
    now = datetime.now(UTC)
    new, new_token = rotate_key(key.prefix, overlap=timedelta(hours=1), now=now)
    assert (new.name, new.scopes, new.requests_per_second, new.expires_at) == ("app", ["stats:read"], 7, None)
    assert (authenticate(token).prefix, authenticate(new_token).prefix) == (key.prefix, new.prefix)
    key.refresh_from_db()
    assert key.expires_at == now + timedelta(hours=1)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=now)
    forget_freshness(token)
    with pytest.raises(InvalidKey):
        authenticate(token)


def test_neither_revoked_nor_expired_nor_unknown_keys_can_be_rotated_or_revoked() -> None:
    now = datetime.now(UTC)
    revoked, _ = create_key("revoked", [Scope.ADMIN])
    revoke_key(revoked.prefix, now=now)
    expired, _ = create_key("expired", [Scope.ADMIN], expires_at=now)
    for prefix in (revoked.prefix, expired.prefix, "nobody"):
        with pytest.raises(UnknownKey):
            rotate_key(prefix, overlap=timedelta(hours=1), now=now)
        with pytest.raises(UnknownKey):
            revoke_key(prefix, now=now)


def test_the_local_cluster_keeps_its_keys_in_files_of_their_owner(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.create()
    now = datetime.now(UTC)
    ensure_local_keys(state.root, now=now)
    tokens = {name: state.find_secret(name) for name in (TRYOUT_KEY, STATUS_KEY)}
    assert authenticate(tokens[TRYOUT_KEY]).scopes == {Scope.EVENTS_WRITE, Scope.STATS_READ}
    assert authenticate(tokens[STATUS_KEY]).scopes == {Scope.ADMIN}
    assert {state.get_secret_path(name).stat().st_mode & 0o777 for name in tokens} == {0o600}
    ensure_local_keys(state.root, now=now)
    assert {name: state.find_secret(name) for name in tokens} == tokens
    assert ApiKey.objects.count() == len(tokens)
    revoke_key(tokens[TRYOUT_KEY].split("_")[1], now=now)
    ensure_local_keys(state.root, now=now)
    assert state.find_secret(STATUS_KEY) == tokens[STATUS_KEY]
    assert authenticate(state.find_secret(TRYOUT_KEY)).prefix != tokens[TRYOUT_KEY].split("_")[1]


def test_use_of_a_key_is_noted_once_a_minute_not_at_every_look_up() -> None:
    key, token = create_key("app", [Scope.ADMIN])
    assert key.last_used_at is None
    before = datetime.now(UTC)
    authenticate(token)
    key.refresh_from_db()
    first = key.last_used_at
    assert before <= first <= datetime.now(UTC)
    forget_freshness(token)
    authenticate(token)
    key.refresh_from_db()
    assert key.last_used_at == first

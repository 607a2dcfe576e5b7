"""API keys in the admin on the real control database: shown once, changed only with a reason, never deleted."""

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from devtools.localcluster.cluster import LocalCluster
from viewcounter.apikeys.authentication import authenticate
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope

pytestmark = pytest.mark.usefixtures("control_database")


@pytest.fixture
def admin_client() -> Client:
    User.objects.filter(username="key-admin").delete()
    user = User.objects.create_superuser("key-admin", password="long enough to pass")
    client = Client()
    client.force_login(user)
    return client


def test_admin_shows_the_key_once_and_never_again(admin_client: Client) -> None:
    form = {
        "name": "partner",
        "kind": "secret",
        "scopes": ["events:write"],
        "allowed_origins": "[]",
        "expires_at_0": "",
        "expires_at_1": "",
    }
    page = admin_client.post("/admin/gateway/apikey/add/", form, follow=True)
    (message,) = (str(m) for m in page.context["messages"] if "shown only now" in str(m))
    token = message.rsplit(" ", 1)[1]
    assert authenticate(token).name == "partner"
    key = ApiKey.objects.get()
    for path in ("/admin/gateway/apikey/", f"/admin/gateway/apikey/{key.pk}/change/"):
        again = admin_client.get(path)
        assert again.status_code == 200
        assert token.encode() not in again.content
        assert bytes(key.secret_sha256).hex().encode() not in again.content


def choose(admin_client: Client, action: str, key: ApiKey, *, reason: str | None) -> str:
    """The page after the action was chosen, or after it was confirmed with a reason."""
    chosen = {"action": action, "_selected_action": [key.pk]}
    confirmed = {} if reason is None else {"confirmed": "yes", "reason": reason}
    return admin_client.post("/admin/gateway/apikey/", chosen | confirmed, follow=True).content.decode()


def read_key_history(admin_client: Client, key: ApiKey) -> str:
    return admin_client.get(f"/admin/gateway/apikey/{key.pk}/history/").content.decode()


@pytest.mark.parametrize("action", ["revoke", "rotate"])
@pytest.mark.parametrize("reason", [None, "", "  "])
def test_admin_asks_for_a_reason_before_a_key_is_changed(admin_client: Client, action: str, reason: str | None) -> None:
    key, token = create_key("partner", [Scope.EVENTS_WRITE])
    page = choose(admin_client, action, key, reason=reason)
    assert f"partner ({key.prefix}), secret, events:write: never used." in page
    assert ">Cancel</a>" in page
    assert ("Nothing was changed: enter a reason" in page) is (reason is not None)
    key.refresh_from_db()
    assert (key.revoked_at, key.expires_at, ApiKey.objects.count()) == (None, None, 1)
    assert authenticate(token).name == "partner"


def test_admin_keeps_who_revoked_a_key_and_why(admin_client: Client) -> None:
    key, _ = create_key("partner", [Scope.EVENTS_WRITE])
    choose(admin_client, "revoke", key, reason="contract ended")
    history = read_key_history(admin_client, key)
    assert "Revoked: contract ended" in history
    assert "key-admin" in history
    again = choose(admin_client, "revoke", key, reason="once more")
    assert f"valid API key has the prefix {key.prefix}" in again
    assert "once more" not in read_key_history(admin_client, key)
    form = {"name": "other", "scopes": ["admin"], "allowed_origins": "[]", "expires_at_0": "", "expires_at_1": ""}
    assert admin_client.post(f"/admin/gateway/apikey/{key.pk}/change/", form).status_code == 403


def test_admin_keeps_why_a_key_was_rotated_with_both_keys(admin_client: Client) -> None:
    old, _ = create_key("partner", [Scope.EVENTS_WRITE])
    page = choose(admin_client, "rotate", old, reason="yearly")
    new = ApiKey.objects.exclude(pk=old.pk).get()
    assert f"The key that follows {old.prefix}, shown only now: vc_{new.prefix}_" in page
    assert f"Rotated, {new.prefix} follows: yearly" in read_key_history(admin_client, old)
    assert f"Made by rotating {old.prefix}: yearly" in read_key_history(admin_client, new)


def test_admin_revokes_but_does_not_delete(admin_client: Client) -> None:
    key, token = create_key("partner", [Scope.EVENTS_WRITE])
    choose(admin_client, "revoke", key, reason="leaked")
    with pytest.raises(InvalidKey):
        authenticate(token)
    assert admin_client.post(f"/admin/gateway/apikey/{key.pk}/delete/", {"post": "yes"}).status_code == 403
    assert ApiKey.objects.count() == 1


def test_admin_makes_public_keys_and_does_not_change_their_kind(admin_client: Client) -> None:
    form = {
        "name": "site",
        "kind": "public",
        "scopes": ["events:write"],
        "allowed_origins": '["https://a.example"]',
        "expires_at_0": "",
        "expires_at_1": "",
    }
    page = admin_client.post("/admin/gateway/apikey/add/", form, follow=True)
    (message,) = (str(m) for m in page.context["messages"] if "shown only now" in str(m))
    assert authenticate(message.rsplit(" ", 1)[1]).allowed_origins == {"https://a.example"}
    key = ApiKey.objects.get()
    change = {**form, "kind": "secret", "allowed_origins": '["https://b.example"]'}
    admin_client.post(f"/admin/gateway/apikey/{key.pk}/change/", change)
    key.refresh_from_db()
    assert (key.kind, key.allowed_origins) == ("public", ["https://b.example"])
    assert admin_client.post("/admin/gateway/apikey/add/", {**form, "allowed_origins": "[]"}).status_code == 200
    assert ApiKey.objects.count() == 1


def test_without_the_control_database_the_admin_says_that_it_needs_it(
    admin_client: Client, control_database: LocalCluster
) -> None:
    control = control_database.server("control")
    control.kill()
    try:
        connections.close_all()
        answer = admin_client.get("/admin/")
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert answer.content.startswith(b"The control database does not answer.")
    finally:
        control.start()
        control.wait_ready()
        connections.close_all()
    assert admin_client.get("/admin/").status_code == 200

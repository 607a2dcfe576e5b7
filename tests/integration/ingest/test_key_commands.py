"""The commands that make, list, rotate and revoke API keys, on the real control database."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from viewcounter.apikeys.authentication import authenticate
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.keys import create_key, revoke_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope

pytestmark = pytest.mark.usefixtures("control_database")


def test_command_prints_only_the_key_when_quiet() -> None:
    output = io.StringIO()
    call_command("create_api_key", "replay", "--scopes", "events:write, stats:read", "--quiet", stdout=output)
    token = output.getvalue().removesuffix("\n")
    assert authenticate(token).scopes == {Scope.EVENTS_WRITE, Scope.STATS_READ}


@pytest.mark.parametrize("scopes", ["", "events:write,everything"])
def test_command_refuses_bad_scopes_naming_them(scopes: str) -> None:
    with pytest.raises(CommandError, match="--scopes"):
        call_command("create_api_key", "replay", "--scopes", scopes)
    assert ApiKey.objects.count() == 0


def test_commands_limit_rotate_and_revoke_keys() -> None:
    token = run_command(
        "create_api_key",
        "cli",
        "--scopes",
        "stats:read",
        "--events-per-second",
        "9",
        "--expires-in-days",
        "2",
        "--quiet",
    )
    key = ApiKey.objects.get(name="cli")
    assert (key.events_per_second, key.requests_per_second) == (9, None)
    assert timedelta(days=1) < key.expires_at - datetime.now(UTC) <= timedelta(days=2)
    successor = run_command("rotate_api_key", key.prefix, "--quiet")
    assert authenticate(token).name == authenticate(successor).name == "cli"
    assert "refuses it within 5 s" in run_command("revoke_api_key", key.prefix)
    for bad in (
        ("create_api_key", "bad", "--scopes", "stats:read", "--requests-per-second", "0"),
        ("create_api_key", "bad", "--scopes", "stats:read", "--expires-in-days", "0"),
        ("rotate_api_key", "nobody"),
        ("rotate_api_key", key.prefix, "--overlap-hours", "-1"),
        ("revoke_api_key", key.prefix),
    ):
        with pytest.raises(CommandError):
            run_command(*bad)


def test_keys_are_listed_with_what_they_may_do_and_without_their_secrets() -> None:
    now = datetime.now(UTC)
    used, token = create_key("app", [Scope.EVENTS_WRITE, Scope.STATS_READ], events_per_second=9)
    authenticate(token)
    gone, old_token = create_key("old", [Scope.ADMIN], expires_at=now + timedelta(days=2))
    revoke_key(gone.prefix, now=now)
    create_key("past", [Scope.ADMIN], expires_at=now - timedelta(seconds=1))
    site = ("create_api_key", "site", "--public", "--origin", "https://www.example.com", "--quiet")
    public_token = run_command(*site)
    listed = run_command("list_api_keys", "--json")
    rows = {row["name"]: row for row in json.loads(listed)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "app": "valid",
        "old": "revoked",
        "past": "expired",
        "site": "valid",
    }
    app = rows["app"]
    assert (app["prefix"], app["kind"], app["scopes"]) == (used.prefix, "secret", ["events:write", "stats:read"])
    assert (app["events_per_second"], app["requests_per_second"], app["allowed_origins"]) == (9, None, [])
    assert (app["expires_at"], app["revoked_at"]) == (None, None)
    assert now <= datetime.fromisoformat(app["last_used_at"]) <= datetime.now(UTC)
    assert datetime.fromisoformat(rows["old"]["revoked_at"]) == now
    assert (rows["site"]["kind"], rows["site"]["allowed_origins"]) == ("public", ["https://www.example.com"])
    table = run_command("list_api_keys")
    assert [line.split()[:4] for line in table.splitlines()[:2]] == [
        ["prefix", "name", "kind", "state"],
        [used.prefix, "app", "secret", "valid"],
    ]
    for secret in (token, old_token, public_token):
        assert secret.split("_", 2)[2] not in listed + table


def run_command(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


def test_a_public_key_is_made_by_command_for_its_origins_and_can_do_one_thing() -> None:
    token = run_command("create_api_key", "site", "--public", "--origin", "https://a.example", "--quiet")
    key = authenticate(token)
    assert token.startswith("vcp_")
    assert (key.scopes, key.is_public) == ({Scope.EVENTS_WRITE}, True)
    assert key.allowed_origins == {"https://a.example"}
    successor = authenticate(run_command("rotate_api_key", key.prefix, "--quiet"))
    assert (successor.is_public, successor.allowed_origins) == (True, key.allowed_origins)
    with pytest.raises(InvalidKey):
        authenticate("vc_" + token.removeprefix("vcp_"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--public",), "allowed_origins"),
        (("--public", "--origin", "https://a.example/"), "allowed_origins.*https://a.example/ is not"),
        (("--public", "--origin", "https://a.example", "--origin", "https://a.example"), "allowed_origins"),
        (("--public", "--origin", "https://a.example", "--scopes", "events:write,stats:read"), "scopes"),
        (("--scopes", "events:write", "--origin", "https://a.example"), "allowed_origins"),
        ((), "--scopes"),
    ],
)
def test_keys_that_fit_neither_kind_are_not_made(arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        run_command("create_api_key", "site", *arguments)
    assert ApiKey.objects.count() == 0

"""Kills over REST and in the admin: filtered, paged, read only."""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration.shardwatch.terminated_session import NOW, TERMINATED
from viewcounter.shardwatch.kills import build_row, write_kills
from viewcounter.shardwatch.models import Kill

OTHER = replace(
    TERMINATED, instance="shard2b", at=NOW + timedelta(minutes=1), action="terminate", reason="idle_in_transaction",
    session_class="flush", client_address=None,
)  # fmt: skip


@pytest.fixture
def stored(api):
    Kill.objects.all().delete()
    write_kills([build_row(TERMINATED, shard="shard1"), build_row(OTHER, shard="shard2")])
    yield api
    Kill.objects.all().delete()


def list_instances(api, **query):
    answer = api.get(f"/v1/kills?{urlencode(query)}", "/v1/kills", scope="admin")
    return [kill["instance"] for kill in answer["kills"]], answer["next_cursor"]


def test_kills_are_listed_newest_first_with_all_that_is_known(stored):
    answer = stored.get("/v1/kills", "/v1/kills", scope="admin")
    assert [kill["instance"] for kill in answer["kills"]] == ["shard2b", "shard1a"]
    kill = answer["kills"][1]
    assert kill.pop("id") == Kill.objects.get(instance="shard1a").pk
    assert kill == {
        "at": "2026-03-01T12:00:00Z", "shard": "shard1", "instance": "shard1a", "action": "cancel",
        "reason": "running", "session_class": "foreign", "age_seconds": 21.0, "budget_seconds": 20.0, "pid": 7,
        "since": "2026-03-01T11:59:39Z", "user": "bi", "application": "metabase", "client_address": "10.0.0.9",
        "fingerprint": "-42", "statement": "SELECT ?",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"shard": "shard1"}, ["shard1a"]),
        ({"instance": "shard2b"}, ["shard2b"]),
        ({"instance": "gone"}, []),
        ({"session_class": "flush"}, ["shard2b"]),
        ({"action": "cancel"}, ["shard1a"]),
        ({"reason": "idle_in_transaction"}, ["shard2b"]),
        ({"start_time": "2026-03-01T12:00:01Z"}, ["shard2b"]),
        ({"end_time": "2026-03-01T12:01:00Z"}, ["shard1a"]),
    ],
)
def test_filters_keep_what_fits(stored, query, expected):
    assert list_instances(stored, **query) == (expected, None)


def test_a_cursor_goes_on_behind_its_page(stored):
    first, cursor = list_instances(stored, limit=1)
    assert (first, list_instances(stored, limit=1, cursor=cursor)) == (["shard2b"], (["shard1a"], None))


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ({"limit": 0}, "limit", "out_of_range"),
        ({"limit": 501}, "limit", "out_of_range"),
        ({"action": "stop"}, "action", "unknown_action"),
        ({"reason": "x"}, "reason", "unknown_reason"),
        ({"session_class": "x"}, "session_class", "unknown_session_class"),
        ({"cursor": "x"}, "cursor", "invalid_cursor"),
        ({"instance": "\0"}, "instance", "invalid_name"),
        ({"query_class": "point"}, "query_class", "unknown_parameter"),
    ],
)
def test_a_bad_parameter_is_named_with_its_reason(stored, query, field, code):
    response = stored.call("GET", f"/v1/kills?{urlencode(query)}", scope="admin")
    assert response.status_code == 422
    assert [(error["field"], error["code"]) for error in response.json()["errors"]] == [(field, code)]


def test_kills_are_for_admins(stored):
    assert stored.call("GET", "/v1/kills").json()["code"] == "missing_scope"


def test_the_admin_shows_kills_and_changes_none(stored):
    user = User.objects.create_superuser("kills-tester", password="x" * 20)
    client = Client()
    client.force_login(user)
    try:
        page = client.get("/admin/operations/kill/").content.decode()
        assert "shard1a" in page and "21.0 (20.0)" in page
        row = Kill.objects.get(instance="shard1a")
        assert "SELECT ?" in client.get(f"/admin/operations/kill/{row.pk}/change/").content.decode()
        assert client.post(f"/admin/operations/kill/{row.pk}/change/", {"user": "me"}).status_code == 403
        assert client.post(f"/admin/operations/kill/{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert client.get("/admin/operations/kill/add/").status_code == 403
    finally:
        user.delete()
    assert Kill.objects.get(pk=row.pk).user == "bi"

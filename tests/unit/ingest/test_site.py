"""Events come to a host of ours, and by HTTPS where it is demanded; else nothing is stored and no key is looked at."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.settings import configure
from tests.unit.ingest.builders import PAGE, WRITER, FaultyLog, Response, know_key, make_event, make_gateway, post
from viewcounter.apikeys.scopes import Scope
from viewcounter.web.application import Gateway

ORIGIN = "https://www.example.com"
BEHIND_PROXY = {"site_https_only": True, "site_behind_tls_proxy": True}
FORWARDED = "X-Forwarded-Proto"
UNKNOWN = "vc_" + "0" * 12 + "_" + "x" * 43


def post_event(log: FaultyLog, settings: dict[str, Any], **options: Any) -> Response:
    return post(make_gateway(log, **settings), json.dumps(make_event()).encode(), **options)


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The tokens that the control database would have been asked for."""
    tokens: list[str] = []
    monkeypatch.setattr("viewcounter.apikeys.authentication.look_up_in_thread", lambda token, *_: tokens.append(token))
    yield tokens


@pytest.mark.parametrize(
    ("settings", "headers", "scheme"),
    [
        ({"site_https_only": True}, {}, "http"),
        ({"site_https_only": True}, {FORWARDED: "https"}, "http"),
        (BEHIND_PROXY, {}, "http"),
        (BEHIND_PROXY, {FORWARDED: "http"}, "https"),
        (BEHIND_PROXY, {FORWARDED: "http, https"}, "http"),
    ],
)
def test_post_by_plain_http_is_403_stores_nothing_and_looks_up_no_key(
    log: FaultyLog, looked_up: list[str], settings: dict[str, Any], headers: dict[str, str], scheme: str
) -> None:
    for token in (WRITER, UNKNOWN):
        answer = post_event(log, settings, headers=headers, scheme=scheme, token=token)
        assert (answer.status, answer.json["code"]) == (403, "https_required")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
    assert (log.append_sizes, looked_up) == ([], [])


@pytest.mark.parametrize(
    ("settings", "headers", "scheme"),
    [
        ({"site_https_only": True}, {}, "https"),
        (BEHIND_PROXY, {FORWARDED: "https"}, "http"),
        (BEHIND_PROXY, {FORWARDED: " https , http"}, "http"),
        ({"site_https_only": False}, {FORWARDED: "http"}, "http"),
    ],
)
def test_post_by_https_is_accepted(
    log: FaultyLog, settings: dict[str, Any], headers: dict[str, str], scheme: str
) -> None:
    assert post_event(log, settings, headers=headers, scheme=scheme).status == 202
    assert log.append_sizes == [1]


def test_preflight_by_plain_http_is_403_without_leave_for_the_page(log: FaultyLog) -> None:
    know_key(PAGE, Scope.EVENTS_WRITE, origins=(ORIGIN,))
    asked = {"method": "OPTIONS", "token": None, "query": f"key={PAGE}", "headers": {"Origin": ORIGIN}}
    refused = post(make_gateway(log, site_https_only=True), b"", **asked)
    assert (refused.status, refused.json["code"]) == (403, "https_required")
    assert not any(name.startswith("access-control") for name in refused.headers)
    assert post(make_gateway(log, site_https_only=True), b"", scheme="https", **asked).status == 204


@pytest.mark.parametrize("host", ["evil.example", "", "localhost.evil.example", "local host"])
def test_post_to_an_unknown_host_is_400_and_stores_nothing(log: FaultyLog, host: str) -> None:
    answer = post_event(log, {"site_allowed_hosts": "localhost, .example.com"}, headers={"host": host})
    assert (answer.status, answer.json["code"]) == (400, "unknown_host")
    assert log.append_sizes == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "events.example.com", "example.com:443"])
def test_post_to_a_known_host_is_accepted(log: FaultyLog, host: str) -> None:
    assert post_event(log, {"site_allowed_hosts": "localhost, .example.com"}, headers={"host": host}).status == 202


@pytest.mark.parametrize(
    ("settings", "host", "is_djangos"),
    [
        ({"site_https_only": True}, b"localhost", True),
        ({"site_https_only": False}, b"evil.example", True),
        ({"site_https_only": False}, b"localhost", False),
    ],
)
def test_script_for_pages_is_left_to_django_where_django_redirects_or_refuses(
    settings: dict[str, Any], host: bytes, is_djangos: bool
) -> None:
    passed_on: list[bool] = []
    sent: list[Any] = []

    async def django(_scope: Any, _receive: Any, _send: Any) -> None:
        passed_on.append(True)

    async def send(message: Any) -> None:
        sent.append(message)

    gateway = Gateway(django, config=configure(**settings), get_log=FaultyLog)
    scope = {
        "type": "http",
        "path": "/v1/viewcounter.js",
        "method": "GET",
        "scheme": "http",
        "headers": [(b"host", host)],
    }
    asyncio.run(gateway(scope, lambda: None, send))
    assert bool(passed_on) is is_djangos
    assert bool(sent) is not is_djangos

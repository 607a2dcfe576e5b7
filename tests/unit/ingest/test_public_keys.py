"""Pages send events with a key that everybody may see, from the origins it names and from no others."""

import asyncio
import json

import pytest

from tests.unit.ingest.builders import (
    PAGE,
    WRITER,
    FaultyLog,
    Response,
    know_key,
    make_event,
    make_gateway,
    post,
    read_event_ids,
    send,
)
from viewcounter.apikeys.origins import find_origin_fault
from viewcounter.apikeys.rate_limit import BoundedBuckets
from viewcounter.apikeys.scopes import Scope

SITE = "https://www.example.com"
LOCAL = "http://localhost:8080"
IN_ADDRESS = {"token": None, "query": f"key={PAGE}"}


@pytest.fixture(autouse=True)
def public_key() -> None:
    know_key(PAGE, Scope.EVENTS_WRITE, origins=(SITE, LOCAL))


def send_page(log: FaultyLog, *events: object, origin: str | None = SITE, **options: object) -> Response:
    headers = {} if origin is None else {"Origin": origin}
    asked = {**IN_ADDRESS, "content_type": "text/plain;charset=UTF-8", "headers": headers, **options}
    return post(make_gateway(log), json.dumps(events).encode(), **asked)


@pytest.mark.parametrize("origin", [SITE, LOCAL])
def test_a_page_of_an_allowed_origin_sends_events_as_beacons_do(log: FaultyLog, origin: str) -> None:
    event = make_event()
    response = send_page(log, event, origin=origin)
    assert (response.status, response.json["accepted"]) == (202, 1)
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["vary"] == "Origin"
    assert "retry-after" in response.headers["access-control-expose-headers"]
    assert read_event_ids(log) == [event["event_id"]]


def test_the_key_may_stand_in_the_header_and_the_body_say_that_it_is_json(log: FaultyLog) -> None:
    response = send_page(log, make_event(), token=PAGE, query="", content_type="application/json")
    assert (response.status, response.headers["access-control-allow-origin"]) == (202, SITE)


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        (None, "origin_missing"),
        ("https://evil.example", "origin_not_allowed"),
        ("http://www.example.com", "origin_not_allowed"),
        ("https://www.example.com:8443", "origin_not_allowed"),
        ("https://www.example.com.evil.example", "origin_not_allowed"),
        ("HTTPS://WWW.EXAMPLE.COM", "origin_not_allowed"),
        ("null", "origin_not_allowed"),
        ("", "origin_not_allowed"),
        ("https://www.exämple.com", "origin_not_allowed"),
    ],
)
def test_a_public_key_from_elsewhere_is_refused_and_nothing_is_stored(
    log: FaultyLog, origin: str | None, code: str
) -> None:
    response = send_page(log, make_event(), origin=origin)
    assert (response.status, response.json["code"]) == (403, code)
    # The page may read the reason; a preflight succeeds by its status, which is not one of success here.
    assert response.headers.get("access-control-allow-origin") == (None if origin is None else "*")
    assert read_event_ids(log) == []


def test_a_secret_key_in_the_address_is_refused_without_being_looked_up(log: FaultyLog) -> None:
    response = send_page(log, make_event(), query=f"key={WRITER}")
    assert (response.status, response.json["code"]) == (401, "secret_key_in_address")
    assert read_event_ids(log) == []


def test_a_page_is_told_what_is_wrong_with_what_it_sent(log: FaultyLog) -> None:
    response = send_page(log, make_event(event_type="clap"))
    assert (response.status, response.json["items"][0]["code"]) == (422, "unknown_event_type")
    assert response.headers["access-control-allow-origin"] == SITE
    response = send_page(log, make_event(), query=f"key={PAGE}&wait=never")
    assert (response.status, response.json["errors"][0]["field"]) == (422, "wait")


def test_for_secret_keys_nothing_changes(log: FaultyLog) -> None:
    response = send_page(log, make_event(), token=WRITER, query="", content_type="application/json")
    assert response.status == 202
    assert not any(name.startswith("access-control") for name in response.headers)
    response = send_page(log, make_event(), token=WRITER, query="")
    assert (response.status, response.json["code"]) == (415, "unsupported_media_type")


def ask_first(log: FaultyLog, *, origin: str, query: str = f"key={PAGE}") -> Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return post(make_gateway(log), b"", method="OPTIONS", token=None, content_type=None, headers=headers, query=query)


def test_a_browser_that_asks_first_is_told_what_a_page_may_send(log: FaultyLog) -> None:
    response = ask_first(log, origin=SITE)
    assert (response.status, response.body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == SITE
    assert response.headers["access-control-allow-methods"] == "POST"
    assert "content-type" in response.headers["access-control-allow-headers"].split(", ")
    assert response.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize(
    ("origin", "query", "status", "code"),
    [
        ("https://evil.example", f"key={PAGE}", 403, "origin_not_allowed"),
        (SITE, "", 401, "missing_key"),
        (SITE, "key=vcp_0", 401, "invalid_key"),
        (SITE, f"key={WRITER}", 401, "secret_key_in_address"),
    ],
)
def test_a_browser_that_asks_for_another_page_or_key_is_told_no(
    log: FaultyLog, origin: str, query: str, status: int, code: str
) -> None:
    response = ask_first(log, origin=origin, query=query)
    assert (response.status, response.json["code"]) == (status, code)
    assert "access-control-allow-methods" not in response.headers


@pytest.mark.parametrize("origin", [SITE, LOCAL, "https://a_b.example:8443", "http://127.0.0.1:1", "http://[::1]:8080"])
def test_origins_are_taken_as_browsers_send_them(origin: str) -> None:
    assert find_origin_fault(origin) is None


@pytest.mark.parametrize(
    "origin",
    [
        *("", "*", "null", "www.example.com", "https://www.example.com/", "https://Example.com", "ftp://example.com"),
        *("https://example.com:443", "http://example.com:80", "https://example.com:0", "https://*.example.com"),
        *("https://" + "a" * 200, "https://exämple.com", "https://example.com\n"),
    ],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    assert find_origin_fault(origin)


def send_many(log: FaultyLog, clients: list[str], **settings: object) -> list[Response]:
    """One after the other, to one gateway."""
    gateway = make_gateway(log, **settings)

    async def send_all() -> list[Response]:
        body = json.dumps(make_event()).encode()
        options = {**IN_ADDRESS, "content_type": "text/plain", "headers": {"Origin": SITE}}
        return [await send(gateway, body, client=client, **options) for client in clients]

    return asyncio.run(send_all())


def test_one_client_of_a_public_key_is_limited_by_its_address_and_the_others_go_on(log: FaultyLog) -> None:
    clients = ["192.0.2.7"] * 3 + ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1", "192.0.2.8"]
    limits = {"public_key_address_requests_per_second": 1, "rate_limit_burst_seconds": 2.0}
    answers = send_many(log, clients, **limits)
    assert [answer.status for answer in answers] == [202, 202, 429, 202, 202, 429, 202, 202]
    refused = answers[2]
    assert (refused.json["code"], refused.headers["x-ratelimit-limit"]) == ("rate_limited", "2")
    assert refused.headers["access-control-allow-origin"] == SITE
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert sum(log.append_sizes) == 6


def test_without_a_limit_of_addresses_and_for_secret_keys_no_address_is_limited(log: FaultyLog) -> None:
    assert {answer.status for answer in send_many(log, ["192.0.2.7"] * 20, rate_limit_burst_seconds=2.0)} == {202}
    limits = {"public_key_address_requests_per_second": 1, "rate_limit_burst_seconds": 1.0}
    for _ in range(3):
        assert post(make_gateway(log, **limits), json.dumps(make_event()).encode()).status == 202


def test_addresses_are_remembered_up_to_a_bound_the_least_recent_is_forgotten() -> None:
    buckets = BoundedBuckets(per_second=1.0, burst_seconds=1.0, max_buckets=2)
    assert all(buckets.get((name,), now=0.0).take(1, now=0.0) for name in "abc")
    assert [buckets.get((name,), now=0.0).take(1, now=0.0) for name in "bca"] == [False, False, True]

"""Limits of a key over real processes and a real cache server, in the endpoint and in the REST views alike."""

import gzip
import time

import pytest
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.pace import limit
from tests.unit.ingest.builders import make_event
from tests.waiting import wait_until
from viewcounter.apikeys.authentication import authenticate, get_key_cache
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.apikeys.shared_buckets import BucketsUnavailable, SharedBuckets, Take
from viewcounter.config import get_config

GZIPPED = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


def make_buckets() -> SharedBuckets:
    url = get_config().cache.url.get_secret_value()
    return SharedBuckets(url, get_cluster_id=lambda: "a-cluster", timeout_seconds=0.5)


@pytest.fixture
def buckets(servers: LocalCluster):
    buckets = make_buckets()
    yield buckets
    buckets.close()


def test_takes_of_all_processes_come_from_one_bucket_that_fills_by_the_servers_clock(buckets):
    name = f"test-{time.time_ns()}"
    assert buckets.take([Take(name, 0.001, 10, 4)]) == [pytest.approx(6, abs=0.01)]
    other = make_buckets()
    assert other.take([Take(name, 0.001, 10, 8)]) == [pytest.approx(-2, abs=0.01)]
    other.close()
    wait_until(lambda: buckets.take([Take(name, 100, 10, 0)]) == [10], what="the bucket to fill up")


def test_a_cache_server_that_is_frozen_is_an_error(servers, buckets):
    server = servers.server("broker")
    server.pause()
    try:
        with pytest.raises(BucketsUnavailable):
            buckets.take([Take("frozen", 1, 1, 1)])
    finally:
        server.resume()


@pytest.fixture
def limited(web, django_db_blocker):
    """A client whose key may do a burst of 20 requests and 50 events, and hardly more."""
    with django_db_blocker.unblock():
        key, token = create_key(
            "limited", [Scope.EVENTS_WRITE, Scope.STATS_READ], requests_per_second=2, events_per_second=5
        )
        headers = {"Authorization": f"Bearer {token}"}
        pool = urllib3.PoolManager(headers=headers, retries=False, timeout=limit(10))

        def call(method, path, **options):
            return pool.request(method, f"{web.web_url}{path}", **options)

        call.headers = headers
        yield call
        key.delete()


def test_past_its_limit_a_key_gets_429_with_retry_after_in_lane_and_views(limited):
    answers = [limited("POST", "/v1/events", json=make_event()) for _ in range(10)]
    assert [a.status for a in answers] == [202] * 10
    assert answers[-1].headers["x-ratelimit-limit"] == "20"
    answers = [limited("GET", "/v1/videos/v/counts") for _ in range(15)]
    assert {a.status for a in answers} == {200, 429}
    refused = answers[-1]
    assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert limited("POST", "/v1/events", json=make_event()).status == 429


def test_a_batch_past_the_limit_of_events_stores_nothing_and_says_which_limit(limited):
    assert limited("POST", "/v1/events", json=[make_event() for _ in range(60)]).status == 202
    refused = limited("POST", "/v1/events", json=[make_event()])
    assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["x-ratelimit-unit"] == "events"
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("status", "request_of"),
    [
        (422, lambda: {"json": [make_event(event_type="clap") for _ in range(60)]}),
        (400, lambda: {"body": b"[" + b" " * 61_440, "headers": {"Content-Type": "application/json"}}),
        (413, lambda: {"body": gzip.compress(b" " * 2**21), "headers": GZIPPED}),
    ],
    ids=["refused events", "a body that is no JSON", "a bomb"],
)
def test_what_a_gateway_refuses_after_looking_at_it_counts_as_events(limited, status, request_of):
    request = request_of()
    options = {**request, "headers": {**limited.headers, **request.get("headers", {})}}
    assert limited("POST", "/v1/events", **options).status == status
    refused = limited("POST", "/v1/events", **options)
    assert (refused.status, refused.headers["x-ratelimit-unit"]) == (429, "events")


def test_a_public_key_without_limits_of_its_own_has_those_of_the_settings(control_database, monkeypatch):
    made = {"scopes": [Scope.EVENTS_WRITE], "kind": KeyKind.PUBLIC, "allowed_origins": ["https://a.example"]}
    _, without = create_key("site", **made)
    _, own = create_key("site", **made, requests_per_second=7, events_per_second=8)
    _, secret = create_key("app", [Scope.EVENTS_WRITE])
    limits = [(key.requests_per_second, key.events_per_second) for key in map(authenticate, (without, own, secret))]
    assert limits == [(500, 2000), (7, 8), (None, None)]
    monkeypatch.setenv("VIEWCOUNTER_PUBLIC_KEY_REQUESTS_PER_SECOND", "0")
    monkeypatch.setenv("VIEWCOUNTER_PUBLIC_KEY_EVENTS_PER_SECOND", "30")
    get_config.cache_clear()
    get_key_cache().clear()
    key = authenticate(without)
    assert (key.requests_per_second, key.events_per_second) == (None, 30)
    monkeypatch.undo()
    get_config.cache_clear()

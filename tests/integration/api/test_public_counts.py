"""Counts for web pages with a public key, through the endpoint in front of Django and a real shard."""

import asyncio
import json
from datetime import timedelta

import pytest

from tests.integration.api.lanes import Lanes as FastLanes
from tests.integration.queries.caching import forget_shared
from tests.integration.queries.rows import DAY, MinuteRow, store_rows
from viewcounter.api.public.endpoint import build_reads
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.rate_limit import get_rate_limiter
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.config import get_config

ORIGIN = "https://www.example.com"
COUNTS, STREAM, BADGE = (f"/v1/videos/cats/{name}" for name in ("counts", "counts/stream", "badge.svg"))
VIEWS = {"view": 1, "like": 0, "dislike": 0, "comment": 0, "share": 0, "watch_time": 0}


class Lanes(FastLanes):
    endpoint = staticmethod(build_reads)


@pytest.fixture
def lanes(api, servers, monkeypatch):
    find_read_cache.cache_clear()
    get_config.cache_clear()
    forget_shared(servers)
    store_rows(api.cluster, [MinuteRow("cats", 1, DAY + timedelta(minutes=0), (1000,))])
    yield Lanes(api.tokens)
    get_rate_limiter().close()


@pytest.fixture
def key(lanes):
    return make_key(Scope.COUNTS_PUBLIC)


def make_key(*scopes, origin=ORIGIN):
    return create_key("page", list(scopes), kind=KeyKind.PUBLIC, allowed_origins=[origin])[1]


def ask(lanes, key, *, path=COUNTS, origin=ORIGIN, **request):
    headers = {**({} if origin is None else {"Origin": origin}), **request.pop("headers", {})}
    query = request.pop("query", "")
    return lanes.ask(path=path, token=None, headers=headers, query=f"key={key}{query}", **request)


def test_a_page_of_the_key_s_origin_reads_counts(lanes, key):
    reply = ask(lanes, key)
    assert reply.status == 200
    assert json.loads(reply.body)["counts"] == VIEWS
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in reply.headers["vary"]
    again = ask(lanes, key, headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_page_reads_counts_of_many_videos_without_a_preflight(lanes, key):
    body = json.dumps({"video_ids": ["cats", "unseen"]}).encode()
    text = {"Content-Type": "text/plain;charset=UTF-8"}
    reply = ask(lanes, key, path="/v1/counts/query", method="POST", body=body, headers=text)
    found = [(video["video_id"], video["known"]) for video in json.loads(reply.body)["videos"]]
    assert found == [("cats", True), ("unseen", False)]
    assert reply.headers["access-control-allow-origin"] == ORIGIN


def test_a_bad_list_of_videos_is_refused_readably(lanes, key):
    reply = ask(lanes, key, path="/v1/counts/query", method="POST", body=b'{"video_ids": []}')
    assert reply.status == 422
    assert reply.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", [COUNTS, STREAM])
@pytest.mark.parametrize(
    ("origin", "code"), [(None, "origin_missing"), ("https://elsewhere.example", "origin_not_allowed")]
)
def test_pages_of_other_origins_and_programs_are_refused(lanes, key, path, origin, code):
    reply = ask(lanes, key, path=path, origin=origin)
    assert (reply.status, json.loads(reply.body)["code"]) == (403, code)


def test_a_public_key_needs_the_scope_and_a_scope_for_events_is_not_it(lanes):
    reply = ask(lanes, make_key(Scope.EVENTS_WRITE))
    assert (reply.status, json.loads(reply.body)["code"]) == (403, "missing_scope")
    assert ask(lanes, make_key(Scope.EVENTS_WRITE, Scope.COUNTS_PUBLIC)).status == 200


def test_a_public_key_for_counts_reads_nothing_else(lanes, key):
    for path in ("/v1/videos/cats/stats", "/v1/top", "/v1/videos/cats", "/v1/cluster", "/v1/events"):
        reply = lanes.ask(path=path, query="event_type=view", token=key, headers={"Origin": ORIGIN})
        assert (reply.status, json.loads(reply.body)["code"]) == (403, "missing_scope"), path


@pytest.mark.parametrize("path", [COUNTS, BADGE, STREAM])
def test_a_secret_key_in_an_address_is_refused_without_being_looked_up(lanes, path):
    reply = ask(lanes, lanes.tokens["stats:read"], path=path)
    assert (reply.status, json.loads(reply.body)["code"]) == (401, "secret_key_in_address")


def test_a_preflight_names_the_methods(lanes, key):
    reply = ask(lanes, key, method="OPTIONS")
    assert (reply.status, reply.headers["access-control-allow-methods"]) == (204, "GET, HEAD")
    assert ask(lanes, key, method="OPTIONS", origin="https://elsewhere.example").status == 403


def test_other_methods_are_refused(lanes, key):
    reply = ask(lanes, key, path=BADGE, method="DELETE")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("referer", [None, f"{ORIGIN}/page?x=1"])
def test_a_badge_is_an_image_for_pages_of_the_key_s_origins(lanes, key, referer):
    headers = {} if referer is None else {"Referer": referer}
    reply = ask(lanes, key, path=BADGE, origin=None, headers=headers, query="&label=Views")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/svg+xml; charset=utf-8")
    assert b"Views: 1" in reply.body
    assert reply.headers["cache-control"] == "public, max-age=60"


def test_a_badge_is_refused_to_other_pages_and_for_unknown_types(lanes, key):
    reply = ask(lanes, key, path=BADGE, origin=None, headers={"Referer": "https://elsewhere.example/"})
    assert (reply.status, json.loads(reply.body)["code"]) == (403, "origin_not_allowed")
    reply = ask(lanes, key, path=BADGE, origin=None, query="&event_type=yawn")
    assert (reply.status, json.loads(reply.body)["errors"][0]["code"]) == (422, "unknown_event_type")


def test_a_badge_for_a_secret_key_is_not_for_shared_caches(lanes):
    reply = lanes.ask(path=BADGE)
    assert (reply.status, reply.headers["cache-control"]) == (200, "private, max-age=60")


def test_pages_of_one_key_are_limited_together(lanes, monkeypatch):
    monkeypatch.setattr(get_rate_limiter(), "clock", lambda: 1000.0)
    key = create_key(
        "page", [Scope.COUNTS_PUBLIC], kind=KeyKind.PUBLIC, allowed_origins=[ORIGIN], requests_per_second=1
    )[1]
    replies = [ask(lanes, key) for _ in range(12)]
    assert [reply.status for reply in replies].count(429) == 2
    assert replies[-1].headers["access-control-allow-origin"] == ORIGIN


def test_the_script_needs_no_key(lanes):
    reply = lanes.ask(path="/v1/counts.js", token=None)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert reply.headers["access-control-allow-origin"] == "*"


def test_a_stream_begins_with_the_counts(lanes, key):
    async def script(_ask):
        chunks: list[bytes] = []
        gone, endpoint = asyncio.Event(), lanes.application

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            chunks.append(message)
            if b"event: counts" in message.get("body", b""):
                gone.set()

        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": STREAM,
            "query_string": f"key={key}".encode(),
            "headers": [(b"host", b"localhost"), (b"origin", ORIGIN.encode())],
        }
        await endpoint(scope, receive, send)
        return chunks

    chunks = lanes.run(script)
    assert chunks[0]["status"] == 200
    headers = dict(chunks[0]["headers"])
    assert headers[b"content-type"] == b"text/event-stream"
    assert headers[b"access-control-allow-origin"] == ORIGIN.encode()
    data = chunks[1]["body"].decode().split("data: ")[1]
    assert json.loads(data)["counts"] == VIEWS

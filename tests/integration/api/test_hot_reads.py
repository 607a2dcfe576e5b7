"""One question by both ways, through the hot lane and through Django: the same answer, byte for byte."""

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from clusterproxy.errors import NoTopology, TooManyWaiting
from shardproxy.errors import DeadlineExceeded, InstanceUnavailable, PoolExhausted
from tests.integration.api.lanes import Ask, Lanes, Reply
from tests.integration.queries.caching import forget_shared
from tests.integration.queries.rows import DAY, MinuteRow, store_rows
from tests.pace import limit
from tests.waiting import wait_until_async
from viewcounter.api.fast import bodies as hot_reads
from viewcounter.api.resources import reads
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.rate_limit import get_rate_limiter
from viewcounter.apikeys.scopes import Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.config import get_config

QUERY = "/v1/counts/query"
JSON = {"Content-Type": "application/json"}
BOTH = json.dumps({"video_ids": ["cats", "dögs", "cats", "unseen"]}).encode()
MANY = json.dumps({"video_ids": [f"video-{number}" for number in range(60)]}).encode()


@pytest.fixture
def lanes(api, servers, monkeypatch):
    """Two videos with counts, and a process that keeps what it reads for as long as a test lasts."""
    monkeypatch.setenv("VIEWCOUNTER_READ_CACHE_ENABLED", "true")
    monkeypatch.setenv("VIEWCOUNTER_READ_CACHE_FRESH_SECONDS", "600")
    get_config.cache_clear()
    find_read_cache.cache_clear()
    forget_shared(servers)
    rows = [MinuteRow(v, t, DAY + timedelta(minutes=m), (1000,)) for v, t, m in (("cats", 1, 0), ("dögs", 6, 1))]
    store_rows(api.cluster, rows)
    yield Lanes(api.tokens)
    find_read_cache().close()
    forget_shared(servers)
    monkeypatch.undo()
    get_config.cache_clear()
    find_read_cache.cache_clear()


def post(body: bytes, **changes: Any) -> dict[str, Any]:
    return {"path": QUERY, "method": "POST", "body": body, "headers": JSON, **changes}


ANSWERED = {
    "counts": {},
    "counts of a video never seen": {"path": "/v1/videos/unseen/counts"},
    "counts of an id that is not ASCII": {"path": "/v1/videos/dögs/counts"},
    "whatever is accepted": {"headers": {"Accept": "application/json, text/plain, */*"}},
    "another tag": {"headers": {"If-None-Match": '"other", "cats"'}},
    "no tag": {"headers": {"If-None-Match": "cats"}},
    "any tag": {"headers": {"If-None-Match": "*"}},
    "no key": {"token": None},
    "a key that is none": {"token": "vc_0"},
    "an unknown key": {"token": "vc_" + "0" * 12 + "_" + "x" * 43},
    "a key without the scope": {"token": "events:write"},
    "an insane request id": {"headers": {"X-Request-ID": "req 1"}},
    "many": post(BOTH),
    "many, in a thread": post(MANY),
    "many, charset named": post(BOTH, headers={"Content-Type": "application/json; charset=utf-8"}),
    "many, no key": post(BOTH, token=None),
    "many, a key without the scope": post(BOTH, token="admin"),
}
LEFT_TO_DJANGO = {
    "another method": {"method": "HEAD"},
    "a method that does not exist": {"method": "DELETE"},
    "a parameter of reads": {"query": "min_position=nonsense"},
    "an unknown parameter": {"query": "strat_time=1"},
    "a bad id": {"path": "/v1/videos/ca ts/counts"},
    "a long id": {"path": f"/v1/videos/{'c' * 129}/counts"},
    "no id": {"path": "/v1/videos//counts"},
    "another scheme": {"headers": {"Authorization": "Basic dXNlcjpwYXNz"}},
    "a form that there is not": {"headers": {"Accept": "text/csv"}},
    "indented": {"headers": {"Accept": "application/json; indent=4"}},
    "If-Match": {"headers": {"If-Match": '"other"'}},
    "a host that is not ours": {"headers": {"Host": "evil.example"}},
    "many, not JSON": post(b"{"),
    "many, not UTF-8": post(b'{"video_ids": ["\xff"]}'),
    "many, nested": post(b"[" * 100_000),
    "many, an unknown field": post(b'{"video_ids": ["cats"], "limit": 3}'),
    "many, a bad id": post(b'{"video_ids": ["cats", "a/b", 7, null]}'),
    "many, none": post(b'{"video_ids": []}'),
    "many, too many": post(json.dumps({"video_ids": [str(n) for n in range(501)]}).encode()),
    "many, another type": post(BOTH, headers={"Content-Type": "text/plain"}),
    "many, packed": post(BOTH, headers={**JSON, "Content-Encoding": "gzip"}),
    "many, a parameter of reads": post(BOTH, query="max_staleness=0"),
}


def compare(lanes: Lanes, request: dict[str, Any], *, name: str = "") -> Reply:
    """The hot lane first: what it read and kept is what Django answers then."""
    hot, plain = lanes.ask(**request), lanes.ask_django(**request)
    if "insane" in name:
        assert hot.headers.pop("x-request-id") != plain.headers.pop("x-request-id")
    assert hot == plain, name
    return hot


def test_the_hot_lane_answers_as_django_does_from_shards_and_from_what_is_kept(lanes):
    for name, request in ANSWERED.items():
        read, kept = (compare(lanes, request, name=name) for _ in range(2))
        assert read == kept, name
        assert lanes.passed_on == 0, name


def test_what_the_hot_lane_does_not_know_django_answers(lanes):
    for number, (name, request) in enumerate(LEFT_TO_DJANGO.items(), start=1):
        compare(lanes, request, name=name)
        assert lanes.passed_on == number, name


def test_counts_are_those_that_are_stored_and_a_client_that_has_them_is_told_so(lanes):
    first = lanes.ask()
    assert first.status == 200
    counts = {"view": 1, "like": 0, "dislike": 0, "comment": 0, "share": 0, "watch_time": 0}
    assert json.loads(first.body)["counts"] == counts
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        assert compare(lanes, {"headers": {"If-None-Match": known}}).status == 304
    many = lanes.ask(**post(BOTH))
    assert [video["video_id"] for video in json.loads(many.body)["videos"]] == ["cats", "dögs", "unseen"]
    assert json.loads(many.body)["videos"][0]["counts"] == counts
    assert lanes.passed_on == 0


ERRORS = (
    (PoolExhausted("full", instance="shard1a"), 503),
    (TooManyWaiting("too many"), 503),
    (InstanceUnavailable("down", instance="shard1a"), 503),
    (DeadlineExceeded("late", instance="shard1a"), 504),
    (NoTopology("none yet"), 503),
    (RuntimeError("a defect"), 500),
)


def test_errors_of_a_read_are_the_same_problems(lanes, monkeypatch):
    for error, status in ERRORS:

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        for module in (hot_reads, reads):
            monkeypatch.setattr(module, "get_counts", fail)
        hot, plain = lanes.ask(), lanes.ask_django()
        assert (hot.status, hot.body) == (plain.status, plain.body)
        assert hot.status == status
        assert status == 500 or hot.headers == plain.headers


def test_a_key_past_its_limit_is_refused_alike_and_told_of_it_alike(lanes, monkeypatch):
    monkeypatch.setattr(get_rate_limiter(), "clock", lambda: 1000.0)
    for name in ("hot", "plain"):
        lanes.tokens[name] = create_key(name, [Scope.STATS_READ], requests_per_second=1)[1]
    lanes.ask()
    replies = [(lanes.ask(token="hot"), lanes.ask_django(token="plain")) for _ in range(12)]
    assert [hot.status for hot, _ in replies] == [200] * 10 + [429] * 2
    assert all(hot == plain for hot, plain in replies)


def test_many_readers_of_one_video_are_one_question_and_too_many_questions_are_shed(lanes, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_HOT_READ_MAX_WAITING", "3")
    get_config.cache_clear()
    asked, gate, get_counts = [], threading.Event(), hot_reads.get_counts

    def wait(*arguments: Any, video_id: str, **options: Any) -> Any:
        asked.append(video_id)
        assert gate.wait(limit(60))
        return get_counts(*arguments, video_id=video_id, **options)

    monkeypatch.setattr(hot_reads, "get_counts", wait)

    async def script(ask: Ask) -> list[Reply]:
        asks = [ask(path=f"/v1/videos/{video_id}/counts") for video_id in ("v1", "v2", "v3") for _ in range(20)]
        readers = [asyncio.create_task(one) for one in asks]
        await wait_until_async(lambda: len(asked) >= 3)
        refused = await ask(path="/v1/videos/v4/counts")
        gate.set()
        return [*await asyncio.gather(*readers), refused]

    replies = lanes.run(script)
    assert [reply.status for reply in replies] == [200] * 60 + [503]
    assert sorted(asked) == ["v1", "v2", "v3"]


def test_a_read_that_takes_too_long_is_504_and_one_that_waited_too_long_is_not_asked(lanes, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_HOT_READ_SECONDS", "0.3")
    monkeypatch.setenv("VIEWCOUNTER_HOT_READ_THREADS", "1")
    get_config.cache_clear()
    asked, gate = [], threading.Event()

    def wait(*_: Any, video_id: str, **__: Any) -> Any:
        asked.append(video_id)
        assert gate.wait(limit(60))
        raise AssertionError("nobody waits for this any more")

    monkeypatch.setattr(hot_reads, "get_counts", wait)

    async def script(ask: Ask) -> list[Reply]:
        replies = await asyncio.gather(ask(), ask(path="/v1/videos/other/counts"))
        gate.set()
        return replies

    replies = lanes.run(script)
    assert [reply.status for reply in replies] == [504, 504]
    assert [json.loads(reply.body)["code"] for reply in replies] == ["deadline_exceeded"] * 2
    assert asked == ["cats"]

"""A request through the whole endpoint, on the log in memory: the answer says what happened, and nothing else did."""

import asyncio
import gzip
import json
from collections.abc import Callable

import msgspec
import pytest
from backports import zstd

from clusterproxy.errors import NoTopology
from configservice.topology.model import EventType, Topology
from tests.unit.ingest.builders import (
    PARTITION_COUNT,
    READER,
    TOPOLOGY,
    WRITER,
    FaultyLog,
    Response,
    ago,
    know_key,
    make_event,
    make_gateway,
    post,
    read_event_ids,
    send,
)
from tests.waiting import wait_until_async
from viewcounter.apikeys.scopes import Scope
from viewcounter.eventlog.errors import EventLogError, EventLogFull, LogClockSkewed
from viewcounter.events.partition import get_partition


def encode(*events: object) -> bytes:
    return json.dumps(events).encode()


def assert_problem(response: Response, status: int, code: str) -> None:
    assert (response.status, response.json["status"], response.json["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json) == {"type", "title", "status", "detail", "code", "request_id"}
    assert response.json["request_id"] == response.headers["x-request-id"]


def test_accepted_events_are_in_the_log_at_the_positions_of_the_answer(log: FaultyLog) -> None:
    events = [make_event(video_id=f"video-{number}") for number in range(5)]
    response = post(make_gateway(log), encode(*events), headers={"X-Request-ID": "req-1"})
    assert response.status == 202
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["x-request-id"] == "req-1"
    partitions = {get_partition(f"video-{number}", partition_count=PARTITION_COUNT) for number in range(5)}
    tails = log.read_tails(partitions).positions
    assert response.json == {
        "request_id": "req-1",
        "accepted": 5,
        "rejected": 0,
        "items": [],
        "positions": {str(partition): str(tail) for partition, tail in tails.items()},
    }
    assert sorted(read_event_ids(log)) == sorted(event["event_id"] for event in events)


def test_bad_events_are_named_and_the_good_ones_beside_them_stored(log: FaultyLog) -> None:
    good, unknown = make_event(), make_event(event_type="clap")
    response = post(make_gateway(log), encode(good, unknown, 17, make_event(video_id=...), good))
    assert response.status == 207
    assert (response.json["accepted"], response.json["rejected"]) == (2, 3)
    assert [(item["index"], item["code"], item["field"]) for item in response.json["items"]] == [
        (1, "unknown_event_type", "event_type"),
        (2, "invalid_type", None),
        (3, "missing_field", "video_id"),
    ]
    assert set(response.json["items"][0]) == {"index", "event_id", "code", "field", "message", "retryable"}
    assert response.json["items"][0]["event_id"] == unknown["event_id"]
    assert read_event_ids(log) == [good["event_id"]] * 2


def test_batch_without_a_good_event_is_422_and_stores_nothing(log: FaultyLog) -> None:
    response = post(make_gateway(log), encode(make_event(event_type="clap"), make_event(occurred_at="never")))
    assert response.status == 422
    assert (response.json["accepted"], response.json["rejected"], response.json["positions"]) == (0, 2, {})
    assert log.append_sizes == []


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_packed_ndjson_is_read_line_by_line(log: FaultyLog, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    lines = [json.dumps(make_event()).encode(), b"{oops", b"", json.dumps(make_event()).encode()]
    response = post(
        make_gateway(log),
        pack(b"\n".join(lines)),
        content_type="application/x-ndjson",
        headers={"Content-Encoding": encoding},
    )
    assert response.status == 207
    assert [(item["index"], item["code"]) for item in response.json["items"]] == [(1, "malformed_json")]
    assert len(read_event_ids(log)) == 2


@pytest.mark.parametrize(
    ("token", "status", "code", "challenge"),
    [
        (None, 401, "missing_key", "Bearer"),
        ("", 401, "invalid_key", 'Bearer error="invalid_token"'),
        ("nonsense", 401, "invalid_key", 'Bearer error="invalid_token"'),
        ("\xff" * 60, 401, "invalid_key", 'Bearer error="invalid_token"'),
        (WRITER + "\x00", 401, "invalid_key", 'Bearer error="invalid_token"'),
        (READER, 403, "missing_scope", None),
    ],
)
def test_request_without_a_key_for_writing_is_refused(
    log: FaultyLog, token: str | None, status: int, code: str, challenge: str | None
) -> None:
    response = post(make_gateway(log), encode(make_event()), token=token)
    assert_problem(response, status, code)
    assert response.headers.get("www-authenticate") == challenge
    assert log.append_sizes == []


def test_refusal_for_a_missing_scope_names_it(log: FaultyLog) -> None:
    assert "events:write" in post(make_gateway(log), b"[]", token=READER).json["detail"]


def test_other_authentication_schemes_are_refused(log: FaultyLog) -> None:
    response = post(make_gateway(log), b"[]", token=None, headers={"Authorization": "Basic dTpw"})
    assert_problem(response, 401, "invalid_key")


def test_key_that_expired_after_it_was_cached_is_refused(log: FaultyLog) -> None:
    know_key(WRITER, Scope.EVENTS_WRITE, expires_at=ago(seconds=1))
    assert_problem(post(make_gateway(log), encode(make_event())), 401, "invalid_key")
    know_key(WRITER, Scope.EVENTS_WRITE, expires_at=ago(seconds=-60))
    assert post(make_gateway(log), encode(make_event())).status == 202


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_405_naming_those_there_are(log: FaultyLog, method: str) -> None:
    response = post(make_gateway(log), b"", method=method)
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_events_is_passed_on_past_the_lane(log: FaultyLog, method: str) -> None:
    with pytest.raises(AssertionError, match="went past the endpoint"):
        post(make_gateway(log), b"", method=method)


@pytest.mark.parametrize(
    ("body", "options", "status", "code"),
    [
        (b"not json", {}, 400, "malformed_json"),
        (b"[" * 100_000, {}, 400, "nested_too_deeply"),
        (b"[]", {}, 422, "empty_batch"),
        (b"", {}, 400, "malformed_json"),
        (encode(make_event()), {"content_type": "text/plain"}, 415, "unsupported_media_type"),
        (encode(make_event()), {"content_type": None}, 415, "unsupported_media_type"),
        (encode(make_event()), {"headers": {"Content-Encoding": "br"}}, 415, "unsupported_encoding"),
        (encode(make_event()), {"headers": {"Content-Encoding": "gzip"}}, 400, "malformed_gzip"),
        (gzip.compress(encode(make_event()))[:-4], {"headers": {"Content-Encoding": "gzip"}}, 400, "malformed_gzip"),
        (gzip.compress(b" " * 10**7), {"headers": {"Content-Encoding": "gzip"}}, 413, "body_too_large"),
        (zstd.compress(b" " * 10**7), {"headers": {"Content-Encoding": "zstd"}}, 413, "body_too_large"),
        (b" " * (1024 * 1024 + 1), {}, 413, "body_too_large"),
        (encode(*[make_event()] * 1001), {}, 413, "too_many_events"),
    ],
)
def test_request_that_cannot_be_read_is_refused_and_stores_nothing(
    log: FaultyLog, body: bytes, options: dict[str, object], status: int, code: str
) -> None:
    assert_problem(post(make_gateway(log), body, **options), status, code)
    assert log.append_sizes == []


def test_thousand_events_fit(log: FaultyLog) -> None:
    response = post(make_gateway(log), encode(*[make_event() for _ in range(1000)]))
    assert (response.status, response.json["accepted"]) == (202, 1000)


def test_unreachable_log_is_503_with_jittered_retry_after(log: FaultyLog) -> None:
    log.failing = dict.fromkeys(range(PARTITION_COUNT), EventLogError("refused"))
    gateway = make_gateway(log, log_retry_after_seconds=5)

    async def post_many() -> list[Response]:
        return [await send(gateway, encode(make_event())) for _ in range(40)]

    responses = asyncio.run(post_many())
    for response in responses:
        assert_problem(response, 503, "log_unavailable")
    waits = {int(response.headers["retry-after"]) for response in responses}
    assert waits <= {5, 6, 7, 8, 9, 10}
    assert len(waits) > 1


def test_full_log_is_503_log_full(log: FaultyLog) -> None:
    log.failing = dict.fromkeys(range(PARTITION_COUNT), EventLogFull("no memory"))
    response = post(make_gateway(log), encode(make_event(), make_event(video_id="other")))
    assert_problem(response, 503, "log_full")
    assert "retry-after" in response.headers


def test_a_log_with_another_clock_is_503_that_names_the_clocks(log: FaultyLog) -> None:
    error = LogClockSkewed("the log server's clock is 75 s ahead of this gateway's")
    log.failing = dict.fromkeys(range(PARTITION_COUNT), error)
    response = post(make_gateway(log), encode(make_event()))
    assert_problem(response, 503, "log_clock_skew")
    assert "75 s ahead of this gateway's" in response.json["detail"]
    assert "retry-after" in response.headers
    assert len(log.append_sizes) == 1  # another attempt would find the same clocks


def test_events_of_a_failed_partition_may_be_sent_again_while_the_rest_is_stored(log: FaultyLog) -> None:
    events = [make_event(video_id=f"video-{number}") for number in range(20)]
    events.insert(3, make_event(event_type="clap"))
    partitions = [get_partition(event["video_id"], partition_count=PARTITION_COUNT) for event in events]
    log.failing = {partitions[0]: EventLogError("refused")}
    response = post(make_gateway(log), encode(*events))
    assert response.status == 207
    failed = [index for index, partition in enumerate(partitions) if partition == partitions[0] and index != 3]
    assert [(item["index"], item["code"], item["retryable"]) for item in response.json["items"]] == sorted(
        [(3, "unknown_event_type", False), *((index, "log_unavailable", True) for index in failed)]
    )
    stored = [event["event_id"] for index, event in enumerate(events) if index != 3 and index not in failed]
    assert response.json["accepted"] == len(stored)
    assert sorted(read_event_ids(log)) == sorted(stored)
    assert str(partitions[0]) not in response.json["positions"]


def test_full_buffer_is_503_overloaded_with_nothing_stored_of_the_request(log: FaultyLog) -> None:
    gateway = make_gateway(log, commit_buffer_max_events=3)

    async def overload() -> tuple[Response, Response]:
        log.gate.clear()
        waiting = asyncio.ensure_future(send(gateway, encode(make_event(), make_event())))
        await wait_until_async(lambda: log.begun_count == 1)
        refused = await send(gateway, encode(make_event(), make_event()))
        log.gate.set()
        return await waiting, refused

    accepted, refused = asyncio.run(overload())
    assert accepted.status == 202
    assert_problem(refused, 503, "overloaded")
    assert "retry-after" in refused.headers
    assert len(read_event_ids(log)) == 2


def test_no_topology_is_503(log: FaultyLog) -> None:
    def get_topology() -> Topology:
        raise NoTopology("not yet")

    response = post(make_gateway(log, get_topology=get_topology), encode(make_event()))
    assert_problem(response, 503, "no_topology")


def test_event_type_added_to_the_topology_is_accepted_from_then_on(log: FaultyLog) -> None:
    current = [TOPOLOGY]
    gateway = make_gateway(log, get_topology=lambda: current[0])

    async def post_claps() -> list[int]:
        statuses = [(await send(gateway, encode(make_event(event_type="clap")))).status]
        clap = EventType(id=99, name="clap", valued=False)
        current[0] = msgspec.structs.replace(TOPOLOGY, epoch=2, event_types=(*TOPOLOGY.event_types, clap))
        statuses.append((await send(gateway, encode(make_event(event_type="clap")))).status)
        return statuses

    assert asyncio.run(post_claps()) == [422, 202]


def test_client_that_leaves_while_sending_stores_nothing_and_gets_nothing(log: FaultyLog) -> None:
    response = post(make_gateway(log), [encode(make_event())], disconnects=True)
    assert (response.status, response.body, log.append_sizes) == (0, b"", [])


def test_client_that_stalls_is_let_go(log: FaultyLog) -> None:
    response = post(make_gateway(log, request_body_seconds=0.05), [])
    assert_problem(response, 408, "body_too_slow")
    assert response.headers["connection"] == "close"


def test_unforeseen_failure_is_a_500_problem_without_internals(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    def get_topology() -> Topology:
        raise RuntimeError("secret internals")

    response = post(make_gateway(log, get_topology=get_topology), encode(make_event()))
    assert_problem(response, 500, "internal_error")
    assert b"secret" not in response.body
    assert "secret internals" in caplog.text


def test_shutdown_stores_and_answers_what_lingers(log: FaultyLog) -> None:
    gateway = make_gateway(log, commit_linger_ms=3_600_000.0)
    sent: list[str] = []

    async def shut_down() -> Response:
        messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()

        async def record(message: dict[str, str]) -> None:
            sent.append(message["type"])

        lifespan = asyncio.ensure_future(gateway({"type": "lifespan"}, messages.get, record))
        messages.put_nowait({"type": "lifespan.startup"})
        lingering = asyncio.ensure_future(send(gateway, encode(make_event())))
        await asyncio.sleep(0)  # a request whose key is known does not wait for anything before it lingers
        messages.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
        return await lingering

    response = asyncio.run(shut_down())
    assert response.status == 202
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(read_event_ids(log)) == 1

"""The endpoint as it runs in production: gunicorn, uvicorn, the control database and a durable log, over HTTP."""

import gzip
import json
import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import urllib3
from backports import zstd

from devtools.localcluster.cluster import LocalCluster
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.eventlog.codec import unpack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog

PARTITIONS = range(32)
HTTP_SECONDS = limit(10.0)


@pytest.fixture
def log(web: LocalCluster) -> Iterator[RedisEventLog]:
    """The cluster's log, empty."""
    web.valkey("log").empty_log()
    streams = RedisEventLog(web.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=2.0)
    yield streams
    streams.close()


class Client:
    """Posts events; keeps the ids of those that were acknowledged."""

    def __init__(self, url: str, token: str) -> None:
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=HTTP_SECONDS)
        self._url = f"{url}/v1/events"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.acknowledged: list[str] = []
        self.outcomes: Counter[int | str] = Counter()

    def post(self, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request("POST", self._url, body=body, headers={**self._headers, **named})

    def post_new_events(self, count: int) -> int | None:
        """The status, None if the connection broke."""
        events = [make_event() for _ in range(count)]
        try:
            response = self.post(json.dumps(events).encode())
        except urllib3.exceptions.HTTPError as error:
            self.outcomes[repr(error)] += 1
            return None
        self.outcomes[response.status] += 1
        if response.status == 202:
            self.acknowledged += [event["event_id"] for event in events]
        return response.status

    def send(self, method: str) -> urllib3.BaseHTTPResponse:
        return self._pool.request(method, self._url, headers=self._headers)


@pytest.fixture
def client(web: LocalCluster, write_token: str) -> Client:
    return Client(web.web_url, write_token)


def make_event(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "video_id": f"video-{uuid.uuid4().int % 100}",
        "event_type": "view",
        "occurred_at": datetime.now(UTC).isoformat(),
        **changes,
    }


def read_event_ids(log: RedisEventLog) -> list[str]:
    ids = []
    for partition in PARTITIONS:
        for entry in log.read(partition, after=START, max_entries=1_000_000):
            raw = unpack_entry(entry.payload).event_ids.tobytes()
            ids += [str(uuid.UUID(bytes=raw[i : i + 16])) for i in range(0, len(raw), 16)]
    return ids


class Load:
    """Clients posting until told to stop."""

    def __init__(self, client: Client, *, threads: int = 4) -> None:
        self._client = client
        self._stopping = threading.Event()
        self._executor = ThreadPoolExecutor(threads)
        self._runs = [self._executor.submit(self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._client.post_new_events(5) != 202:
                self._stopping.wait(0.02)

    def wait_for_more(self, count: int = 200) -> None:
        """Until `count` more events have been acknowledged."""
        target = len(self._client.acknowledged) + count
        wait_until(lambda: len(self._client.acknowledged) >= target, what="more events to be acknowledged")

    def stop(self) -> None:
        self._stopping.set()
        self._executor.shutdown()
        for run in self._runs:
            run.result()


def test_events_posted_in_every_shape_are_in_the_log(client: Client, log: RedisEventLog) -> None:
    events = [make_event() for _ in range(7)]
    raw = [json.dumps(event).encode() for event in events]
    answers = [
        client.post(raw[0]),
        client.post(b"[" + raw[1] + b"]"),
        client.post(b'{"events": [' + raw[2] + b"]}"),
        client.post(raw[3] + b"\n" + raw[4], Content_Type="application/x-ndjson"),
        client.post(gzip.compress(raw[5]), Content_Encoding="gzip"),
        client.post(zstd.compress(raw[6]), Content_Encoding="zstd"),
    ]
    assert [answer.status for answer in answers] == [202] * 6
    assert [answer.json()["accepted"] for answer in answers] == [1, 1, 1, 2, 1, 1]
    assert sorted(read_event_ids(log)) == sorted(event["event_id"] for event in events)


def test_good_events_beside_bad_ones_are_stored_and_the_answer_names_the_bad(
    client: Client, log: RedisEventLog
) -> None:
    good = make_event()
    body = json.dumps([good, make_event(value=float("nan")), make_event(video_id="\ud800"), 7]).encode()
    answer = client.post(body, X_Request_ID="trace-7")
    assert (answer.status, answer.headers["x-request-id"]) == (207, "trace-7")
    assert [item["code"] for item in answer.json()["items"]] == ["out_of_range", "invalid_id", "invalid_type"]
    assert read_event_ids(log) == [good["event_id"]]


def test_oversized_body_gets_its_answer_although_the_client_is_still_sending(client: Client) -> None:
    answer = client.post(b" " * 8_000_000)
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")


def test_wrong_method_is_405_and_other_paths_are_django_s(client: Client, web: LocalCluster) -> None:
    answer = client.send("PUT")
    allowed = "GET, HEAD, POST"
    assert (answer.status, answer.headers["allow"], answer.json()["code"]) == (405, allowed, "method_not_allowed")
    answer = client.send("OPTIONS")
    assert (answer.status, answer.headers["allow"], answer.json()["code"]) == (405, allowed, "method_not_allowed")
    assert (client.send("GET").status, client.send("GET").json()["code"]) == (403, "missing_scope")
    assert urllib3.request("GET", f"{web.web_url}/healthz", timeout=HTTP_SECONDS).status == 200


def test_unknown_key_is_401(web: LocalCluster) -> None:
    stranger = Client(web.web_url, "vc_" + "0" * 12 + "_" + "s" * 43)
    answer = stranger.post(json.dumps(make_event()).encode())
    assert (answer.status, answer.json()["code"]) == (401, "invalid_key")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_every_acknowledged_event_survives_a_killed_log_server(
    web: LocalCluster, client: Client, log: RedisEventLog
) -> None:
    load = Load(client)
    try:
        load.wait_for_more()
        web.server("log").kill()
        answer = client.post(json.dumps(make_event()).encode())
        assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        web.server("log").start()
        web.server("log").wait_ready()
        load.wait_for_more()
    finally:
        web.server("log").start()
        load.stop()
    assert set(client.acknowledged) <= set(read_event_ids(log))


def test_every_acknowledged_event_survives_killed_gateway_workers(
    web: LocalCluster, client: Client, log: RedisEventLog
) -> None:
    application = web.application("web")
    load = Load(client)
    try:
        for _ in range(3):
            load.wait_for_more()
            for pid in application.list_child_pids():
                os.kill(pid, signal.SIGKILL)
        load.wait_for_more()
    finally:
        load.stop()
    assert set(client.acknowledged) <= set(read_event_ids(log))


def test_frozen_log_server_gives_503_in_bounded_time_and_nothing_hangs(
    web: LocalCluster, client: Client, log: RedisEventLog
) -> None:
    server = web.server("log")
    server.pause()
    try:
        answer = client.post(json.dumps(make_event()).encode())
    finally:
        server.resume()
    assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
    wait_for_closed_breaker(client)


def test_stopped_gateway_answers_what_it_has_begun(web: LocalCluster, client: Client, log: RedisEventLog) -> None:
    application = web.application("web")
    load = Load(client)
    try:
        load.wait_for_more()
        application.stop()
        application.start()
        application.wait_ready()
        load.wait_for_more()
    finally:
        load.stop()
    assert set(client.acknowledged) <= set(read_event_ids(log))


def test_a_reload_under_load_loses_no_request(web: LocalCluster, client: Client, log: RedisEventLog) -> None:
    application = web.application("web")
    before = set(application.list_child_pids())
    load = Load(client)
    try:
        load.wait_for_more()
        os.kill(application.pid, signal.SIGHUP)
        wait_until(lambda: not before & set(application.list_child_pids()), what="the old workers to end")
        load.wait_for_more()
    finally:
        load.stop()
    assert set(client.outcomes) == {202}
    assert sorted(read_event_ids(log)) == sorted(client.acknowledged)


def wait_for_closed_breaker(client: Client) -> None:
    """A log that failed is left alone for a moment."""
    wait_until(lambda: client.post_new_events(1) == 202, what="the breaker to close")

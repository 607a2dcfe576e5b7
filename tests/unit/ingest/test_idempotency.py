"""Idempotency-Key: one append, the same answer; and never a reason to refuse what could be accepted."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from clusterproxy.freshness import Progress
from tests.unit.ingest.builders import (
    PARTITION_COUNT,
    FaultyLog,
    Response,
    know_key,
    make_event,
    make_gateway,
    post,
    read_event_ids,
    send,
)
from viewcounter.apikeys.scopes import Scope
from viewcounter.eventlog.errors import EventLogError
from viewcounter.ingest.idempotency import IdempotencyVerdict, StoredResponse, classify_stored

OTHER_WRITER = "vc_" + "c" * 12 + "_" + "w" * 43


class MemoryAnswers:
    def __init__(self) -> None:
        self.by_name: dict[str, StoredResponse] = {}

    async def claim(self, name: str, kept: StoredResponse) -> StoredResponse | None:
        held = self.by_name.get(name)
        self.by_name.setdefault(name, kept)
        return held

    async def store(self, name: str, stored: StoredResponse) -> None:
        self.by_name[name] = stored

    async def release(self, name: str) -> None:
        self.by_name.pop(name, None)

    async def close(self) -> None:
        pass


class AwayAnswers(MemoryAnswers):
    async def claim(self, *_: object) -> StoredResponse | None:
        return None


def encode(*events: object) -> bytes:
    return json.dumps(events).encode()


class Sender:
    def __init__(self, log: FaultyLog, answers: MemoryAnswers | None = None, **settings: object) -> None:
        self.log, self.answers = log, answers or MemoryAnswers()
        self._settings = settings

    def post(self, body: bytes, key: str = "batch-1", **options: object) -> Response:
        gateway = make_gateway(self.log, parts={"responses": self.answers}, **self._settings)
        headers: Mapping[str, str] = {"Idempotency-Key": key}
        return post(gateway, body, headers=headers, **options)


@pytest.mark.parametrize(
    ("kept", "verdict"),
    [
        (None, IdempotencyVerdict.FIRST),
        (StoredResponse(b"same"), IdempotencyVerdict.IN_PROGRESS),
        (StoredResponse(b"same", b"{}"), IdempotencyVerdict.REPEATED),
        (StoredResponse(b"other"), IdempotencyVerdict.REUSED),
        (StoredResponse(b"other", b"{}"), IdempotencyVerdict.REUSED),
    ],
)
def test_verdict(kept: StoredResponse | None, verdict: IdempotencyVerdict) -> None:
    assert classify_stored(kept, digest=b"same") is verdict


def test_the_same_again_gets_the_same_answer_and_appends_nothing(log: FaultyLog) -> None:
    sender, body = Sender(log), encode(make_event(), make_event(event_type="clap"), make_event())
    first, second = sender.post(body), sender.post(body)
    assert (first.status, second.status) == (207, 207)
    assert first.body == second.body
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != second.json["request_id"] == first.headers["x-request-id"]
    assert log.append_sizes == [2]


def test_another_body_under_the_same_key_is_refused_and_stores_nothing(log: FaultyLog) -> None:
    sender = Sender(log)
    sender.post(encode(make_event()))
    response = sender.post(encode(make_event()))
    assert (response.status, response.json["code"]) == (422, "idempotency_key_reused")
    assert response.json["errors"][0]["field"] == "Idempotency-Key"
    assert len(read_event_ids(log)) == 1


def test_the_same_bytes_read_otherwise_are_another_request(log: FaultyLog) -> None:
    sender, body = Sender(log), json.dumps(make_event()).encode()
    assert sender.post(body).status == 202
    assert sender.post(body, content_type="application/x-ndjson").json["code"] == "idempotency_key_reused"


def test_keys_of_other_api_keys_and_other_keys_are_others(log: FaultyLog) -> None:
    know_key(OTHER_WRITER, Scope.EVENTS_WRITE)
    sender, body = Sender(log), encode(make_event())
    answers = [sender.post(body), sender.post(body, token=OTHER_WRITER), sender.post(body, key="batch-2")]
    assert [answer.status for answer in answers] == [202] * 3
    assert log.append_sizes == [1, 1, 1]


def test_while_the_first_is_under_way_the_second_is_told_to_come_back(log: FaultyLog) -> None:
    async def run() -> list[Response]:
        gateway = make_gateway(log, parts={"responses": MemoryAnswers()})
        body, headers = encode(make_event()), {"Idempotency-Key": "batch-1"}
        log.gate.clear()
        first = asyncio.create_task(send(gateway, body, headers=headers))
        await asyncio.sleep(0)
        second = await send(gateway, body, headers=headers)
        log.gate.set()
        return [await first, second, await send(gateway, body, headers=headers)]

    first, second, third = asyncio.run(run())
    assert (first.status, second.status, third.status) == (202, 409, 202)
    assert second.json["code"] == "idempotency_key_in_use"
    assert int(second.headers["retry-after"]) > 0
    assert first.body == third.body
    assert log.append_sizes == [1]


def test_what_was_not_stored_is_judged_anew(log: FaultyLog) -> None:
    sender, body = Sender(log), encode(make_event())
    log.failing = dict.fromkeys(range(PARTITION_COUNT), EventLogError("away"))
    assert sender.post(body).status == 503
    log.failing = {}
    assert sender.post(body).status == 202


def test_an_answer_that_asks_for_a_resend_is_not_kept(log: FaultyLog) -> None:
    sender = Sender(log)
    body = encode(*[make_event(video_id=f"video-{n}") for n in range(50)])
    log.failing = {1: EventLogError("away")}
    assert sender.post(body).status == 207
    log.failing = {}
    assert sender.post(body).status == 202
    assert sender.answers.by_name != {}


def test_a_batch_without_a_good_event_and_a_body_that_is_none_leave_the_key_free(log: FaultyLog) -> None:
    sender = Sender(log)
    for body in (encode(make_event(event_type="clap")), b"oops", b"[]"):
        assert sender.post(body).status in (400, 422)
        assert sender.answers.by_name == {}


def test_an_answer_too_long_to_be_kept_leaves_the_key_free(log: FaultyLog) -> None:
    sender = Sender(log, idempotency_answer_max_bytes=10)
    body = encode(make_event())
    assert [sender.post(body).status, sender.post(body).status] == [202, 202]
    assert log.append_sizes == [1, 1]


def test_without_the_cache_requests_are_taken_as_if_they_had_no_key(log: FaultyLog) -> None:
    sender, body = Sender(log, AwayAnswers()), encode(make_event())
    assert [sender.post(body).status, sender.post(body).status] == [202, 202]
    assert log.append_sizes == [1, 1]


@pytest.mark.parametrize("key", ["", "a b", "a\x00", "\xff", "k" * 256])
def test_what_is_no_key_is_refused_by_name(log: FaultyLog, key: str) -> None:
    response = Sender(log).post(encode(make_event()), key=key)
    assert response.status == 422
    assert [(e["field"], e["code"]) for e in response.json["errors"]] == [("Idempotency-Key", "invalid_key")]
    assert log.append_sizes == []


def test_a_repeated_request_that_waits_is_told_of_now(log: FaultyLog) -> None:
    sender, body = Sender(log, wait_applied_seconds=0.05), encode(make_event())
    assert "applied" not in sender.post(body).json
    reached = Progress((2**60, 0), datetime.now(UTC))
    parts = {"responses": sender.answers, "read_applied_progress": lambda p: dict.fromkeys(p, reached)}
    gateway = make_gateway(log, parts=parts)
    response = post(gateway, body, headers={"Idempotency-Key": "batch-1"}, query="wait=applied")
    assert (response.status, response.json["applied"]) == (202, True)
    assert log.append_sizes == [1]

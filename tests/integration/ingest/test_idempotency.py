"""Idempotency-Keys in a real Valkey, shared by two gateways; frozen, it costs a moment and refuses nobody."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from configservice.topology.value_macs import ValueAuthenticator
from devtools.localcluster.cluster import LocalCluster
from tests.unit.ingest.builders import WRITER, FaultyLog, know_key, make_event, make_gateway, send
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.scopes import Scope
from viewcounter.ingest.idempotency import SharedResponseStore, StoredResponse


@pytest.fixture
def url(servers: LocalCluster):
    know_key(WRITER, Scope.EVENTS_WRITE)
    yield servers.environment["VIEWCOUNTER_CACHE_URL"]
    get_key_cache().clear()


BOUNDS = {"timeout_seconds": 1.0, "open_seconds": 0.1, "claim_seconds": 30, "keep_seconds": 30}
AUTHENTICATOR = ValueAuthenticator("s" * 50, kind="idempotency")


def make_answers(url: str, **changes: Any) -> SharedResponseStore:
    settings = {**BOUNDS, "authenticator": AUTHENTICATOR, **changes}
    return SharedResponseStore(url, get_cluster_id=lambda: "a-cluster", max_connections=2, **settings)


def test_two_gateways_append_a_repeated_batch_once(url: str) -> None:
    async def run() -> None:
        log, name = FaultyLog(), uuid.uuid4().hex
        gateways = [make_gateway(log, parts={"responses": make_answers(url)}) for _ in range(2)]
        body, headers = json.dumps([make_event(), make_event()]).encode(), {"Idempotency-Key": name}
        first, second = [await send(gateway, body, headers=headers) for gateway in gateways]
        assert (first.status, first.body) == (202, second.body)
        assert second.headers["idempotent-replayed"] == "true"
        other = await send(gateways[1], json.dumps(make_event()).encode(), headers=headers)
        assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
        assert log.append_sizes == [2]

    asyncio.run(run())


def test_claims_and_answers_end_by_themselves(url: str) -> None:
    async def run() -> None:
        name = uuid.uuid4().hex
        answers = make_answers(url, claim_seconds=0.001, keep_seconds=30)
        assert await answers.claim(name, StoredResponse(b"a")) is None
        await asyncio.sleep(0.05)
        assert await answers.claim(name, StoredResponse(b"b")) is None
        await answers.store(name, StoredResponse(b"b", b"answer"))
        assert await answers.claim(name, StoredResponse(b"c")) == StoredResponse(b"b", b"answer")
        await answers.release(name)
        assert await answers.claim(name, StoredResponse(b"c")) is None
        await answers.close()

    asyncio.run(run())


def test_a_frozen_cache_server_refuses_nobody(url: str, servers: LocalCluster) -> None:
    async def run() -> None:
        log = FaultyLog()
        gateway = make_gateway(log, parts={"responses": make_answers(url, timeout_seconds=0.05, open_seconds=60.0)})
        body, headers = json.dumps(make_event()).encode(), {"Idempotency-Key": "frozen"}
        answers = [await send(gateway, body, headers=headers) for _ in range(20)]
        assert [answer.status for answer in answers] == [202] * 20
        assert log.append_sizes == [1] * 20

    server = servers.server("broker")
    server.pause()
    try:
        asyncio.run(run())
    finally:
        server.resume()


def test_an_answer_that_none_of_our_processes_has_written_is_no_answer(url: str) -> None:
    """A process that can write to the cache could otherwise make a client believe that its events are counted."""

    async def run() -> None:
        log, name = FaultyLog(), uuid.uuid4().hex
        forger = make_answers(url, authenticator=ValueAuthenticator("another secret" * 4, kind="idempotency"))
        body, headers = json.dumps([make_event()]).encode(), {"Idempotency-Key": name}
        forgery = await send(make_gateway(FaultyLog(), parts={"responses": forger}), body, headers=headers)
        gateway = make_gateway(log, parts={"responses": make_answers(url)})
        first, second = [await send(gateway, body, headers=headers) for _ in range(2)]
        assert (forgery.status, first.status, second.status, log.append_sizes) == (202, 202, 202, [1])
        assert ("idempotent-replayed" in first.headers, second.headers["idempotent-replayed"]) == (False, "true")
        await forger.close()

    asyncio.run(run())

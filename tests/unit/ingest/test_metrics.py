"""What the endpoint counts: every request once, by its outcome; every event once."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from runtime.metrics import REGISTRY
from tests.unit.ingest.builders import PARTITION_COUNT, READER, FaultyLog, ago, make_event, make_gateway, send
from tests.waiting import wait_until_async
from viewcounter.config import Config, read_settings
from viewcounter.eventlog.errors import EventLogError
from viewcounter.events.partition import get_partition
from viewcounter.events.viewer import ViewerDigest, derive_viewer_key
from viewcounter.web import application
from viewcounter.web.application import Gateway

NAMES = {
    "viewcounter_ingest_requests_total",
    "viewcounter_events_accepted_total",
    "viewcounter_events_rejected_total",
    "viewcounter_append_failures_total",
    "viewcounter_append_seconds_count",
}


def read_counters() -> dict[str, float]:
    return {
        " ".join([sample.name.removeprefix("viewcounter_"), *sample.labels.values()]): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name in NAMES
    }


def get_growth(before: Mapping[str, float]) -> dict[str, float]:
    return {name: grown for name, now in read_counters().items() if (grown := now - before.get(name, 0.0))}


async def stop(gateway: Gateway) -> None:
    """As the server does at a stop; what has been counted is published then at the latest."""
    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive() -> dict[str, Any]:
        return {"type": messages.pop(0)}

    async def ignore(message: Any) -> None: ...

    await gateway({"type": "lifespan"}, receive, ignore)


def encode(*events: object) -> bytes:
    return json.dumps(events).encode()


def test_every_request_and_every_event_is_counted_once_by_its_outcome(log: FaultyLog) -> None:
    before = read_counters()

    async def run() -> None:
        gateway = make_gateway(log)
        good, old = make_event(), make_event(occurred_at=ago(days=8).isoformat())
        await send(gateway, encode(good, make_event()))
        await send(gateway, encode(good, old))
        await send(gateway, encode(old, make_event(event_type="wink")))
        await send(gateway, encode(good), token=READER)
        await send(gateway, b"[")
        await send(gateway, b"", disconnects=True, headers={"content-length": "10"})
        await stop(gateway)

    asyncio.run(run())
    assert get_growth(before) == {
        "ingest_requests_total accepted": 1,
        "ingest_requests_total partial": 1,
        "ingest_requests_total none_valid": 1,
        "ingest_requests_total missing_scope": 1,
        "ingest_requests_total malformed_json": 1,
        "ingest_requests_total client_gone": 1,
        "events_accepted_total": 3,
        "events_rejected_total too_old": 2,
        "events_rejected_total unknown_event_type": 1,
        "append_seconds_count": 2,
    }


def test_events_that_the_log_did_not_store_are_rejected_not_accepted(log: FaultyLog) -> None:
    before = read_counters()
    log.failing = {get_partition("bad", partition_count=PARTITION_COUNT): EventLogError("down")}
    other = next(
        name for name in map(str, range(100)) if get_partition(name, partition_count=PARTITION_COUNT) not in log.failing
    )

    async def run() -> None:
        gateway = make_gateway(log)
        await send(gateway, encode(make_event(video_id="bad"), make_event(video_id=other)))
        await send(gateway, encode(make_event(video_id="bad")))
        await stop(gateway)

    asyncio.run(run())
    assert get_growth(before) == {
        "ingest_requests_total partial": 1,
        "ingest_requests_total log_unavailable": 1,
        "events_accepted_total": 1,
        "events_rejected_total log_unavailable": 1,
        "append_failures_total": 2,
        "append_seconds_count": 2,
    }


def test_a_gateway_shows_under_which_key_it_tells_viewers_apart(log: FaultyLog) -> None:
    """Two that differ would count each viewer twice."""
    own, of_everything = "m" * 32, "x" * 50
    for secret, settings in ((own, {"viewer_key": own}), (of_everything, {"secret_key": of_everything})):
        asyncio.run(stop(make_gateway(log, **settings)))
        fingerprint = ViewerDigest(derive_viewer_key(secret)).key_fingerprint
        assert REGISTRY.get_sample_value("viewcounter_gateways_by_viewer_key", {"fingerprint": fingerprint}) == 1


def test_a_gateway_shows_a_key_that_is_added_though_no_viewer_comes(log: FaultyLog, tmp_path, monkeypatch) -> None:
    first, second = "n" * 32, "o" * 32
    file = tmp_path / "viewcounter_viewer_key"
    file.write_text(first)
    monkeypatch.setattr(application, "REREAD_SECONDS", 0.001)
    variables = {"VIEWCOUNTER_SECRET_KEY": "x" * 50, "VIEWCOUNTER_VIEWER_KEY": first}
    config = read_settings(Config, variables, {"VIEWCOUNTER_VIEWER_KEY": file})
    gateway = make_gateway(log, config=config)
    fingerprint = ViewerDigest(derive_viewer_key(second)).key_fingerprint

    def is_shown() -> bool:
        return REGISTRY.get_sample_value("viewcounter_gateways_by_viewer_key", {"fingerprint": fingerprint}) == 1

    started = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not started.is_set():
            started.set()
            return {"type": "lifespan.startup"}
        file.write_text(f"{first}\n2999-01-01 {second}")
        await wait_until_async(is_shown)
        return {"type": "lifespan.shutdown"}

    async def ignore(message: Any) -> None: ...

    asyncio.run(gateway({"type": "lifespan"}, receive, ignore))

"""`wait=applied`: answered when the shards have come so far, when the wait is over, or when they are lost."""

import asyncio
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from clusterproxy.freshness import Progress
from tests.unit.ingest.builders import (
    PARTITION_COUNT,
    FaultyLog,
    Response,
    make_event,
    make_gateway,
    post,
    read_event_ids,
)
from tests.waiting import wait_until_async
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import START, Position
from viewcounter.ingest.settings import WaitLimits
from viewcounter.ingest.wait_applied import AppliedWatch

PATIENT = WaitLimits(seconds=30.0, poll_seconds=0.0, max_requests=100)


class Shards:
    """Positions that a test moves. `asked`: the partitions of each question."""

    def __init__(self) -> None:
        self.reached: dict[int, Position] = {}
        self.lost: dict[int, tuple[tuple[Position, Position], ...]] = {}
        self.asked: list[list[int]] = []
        self.error: Exception | None = None

    def read(self, partitions: Collection[int]) -> Mapping[int, Progress]:
        self.asked.append(sorted(partitions))
        if self.error is not None:
            raise self.error
        return {
            p: Progress(self.reached[p], datetime.now(UTC), self.lost.get(p, ()))
            for p in partitions
            if p in self.reached
        }


class EverythingApplied(Shards):
    def read(self, partitions: Collection[int]) -> Mapping[int, Progress]:
        self.reached = dict.fromkeys(partitions, Position(2**60, 0))
        return super().read(partitions)


def post_waiting(log: FaultyLog, shards: Shards, *events: dict[str, Any], **settings: Any) -> Response:
    gateway = make_gateway(log, parts={"read_applied_progress": shards.read}, **settings)
    return post(gateway, json.dumps(events).encode(), query="wait=applied")


def test_applied_events_are_answered_as_such() -> None:
    log, shards = FaultyLog(), EverythingApplied()
    response = post_waiting(log, shards, *[make_event(video_id=f"video-{n}") for n in range(20)])
    assert (response.status, response.json["applied"], response.json["accepted"]) == (202, True, 20)
    assert shards.asked == [sorted(int(p) for p in response.json["positions"])]


def test_what_is_not_applied_in_time_is_accepted_all_the_same() -> None:
    log, event = FaultyLog(), make_event()
    response = post_waiting(log, Shards(), event, wait_applied_seconds=0.05)
    assert (response.status, response.json["applied"]) == (202, False)
    assert read_event_ids(log) == [event["event_id"]]


def test_events_that_the_log_has_lost_are_to_be_sent_again() -> None:
    log, shards, event = FaultyLog(), EverythingApplied(), make_event()
    shards.lost = {p: ((START, Position(2, 0)),) for p in range(PARTITION_COUNT)}
    response = post_waiting(log, shards, event)
    assert (response.status, response.json["code"]) == (410, "lost")
    [loss] = response.json["lost"]
    assert (loss["after"], loss["through"]) == ("0-0", "2-0")
    assert response.json["errors"][0]["field"] == "wait"
    shards.lost = {p: ((Position(2, 0), Position(2, 9)),) for p in range(PARTITION_COUNT)}
    assert post_waiting(FaultyLog(), shards, event).status == 202


def test_shards_that_do_not_answer_make_no_error() -> None:
    shards = Shards()
    shards.error = OSError("away")
    response = post_waiting(FaultyLog(), shards, make_event(), wait_applied_seconds=0.05)
    assert (response.status, response.json["applied"]) == (202, False)


def test_the_good_events_of_a_mixed_batch_are_waited_for() -> None:
    response = post_waiting(FaultyLog(), EverythingApplied(), make_event(), make_event(event_type="clap"))
    assert (response.status, response.json["applied"], response.json["rejected"]) == (207, True, 1)


def test_who_does_not_wait_is_not_told() -> None:
    shards = Shards()
    gateway = make_gateway(FaultyLog(), parts={"read_applied_progress": shards.read})
    assert "applied" not in post(gateway, json.dumps(make_event()).encode()).json
    assert shards.asked == []


def test_spooled_events_are_answered_at_once(tmp_path: Any) -> None:
    log, shards = FaultyLog(), EverythingApplied()
    log.failing = dict.fromkeys(range(100), EventLogError("away"))
    response = post_waiting(log, shards, make_event(), spool_dir=tmp_path, wait_applied_seconds=60.0)
    assert (response.status, response.json["applied"], response.json["spooled"]) == (202, False, True)
    assert shards.asked == []


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("wait=counted", "wait", "unknown_wait"),
        ("wait=", "wait", "unknown_wait"),
        ("wiat=applied", "wiat", "unknown_parameter"),
        ("wait=applied&wait=applied", "wait", "repeated_parameter"),
        ("&".join(["wait=applied"] * 11), "", "too_many_parameters"),
        ("%FF%00=%ZZ", "\u00ff\x00", "unknown_parameter"),
    ],
)
def test_parameters_that_cannot_be_used_are_named_and_nothing_is_stored(query: str, field: str, code: str) -> None:
    log = FaultyLog()
    response = post(make_gateway(log), json.dumps(make_event()).encode(), query=query)
    assert response.status == 422
    [error] = response.json["errors"]
    assert error["code"] == code
    assert field == "\u00ff\x00" or error["field"] == field
    assert log.append_sizes == []


def test_each_of_many_waits_ends_when_its_own_positions_are_reached() -> None:
    async def run() -> None:
        shards = Shards()
        watch = AppliedWatch(shards.read, PATIENT)
        early = [asyncio.create_task(watch.wait({1: Position(5, 0)})) for _ in range(50)]
        late = [asyncio.create_task(watch.wait({1: Position(5, 0), 2: Position(9, 0)})) for _ in range(50)]
        shards.reached = {1: Position(5, 0), 2: Position(8, 7)}
        assert await asyncio.gather(*early) == [True] * 50
        assert not any(task.done() for task in late)
        shards.reached[2] = Position(10, 0)
        assert await asyncio.gather(*late) == [True] * 50
        assert all(asked in ([1], [1, 2], [2]) for asked in shards.asked)
        watch.close()

    asyncio.run(run())


def test_more_than_may_wait_are_answered_at_once_and_a_close_ends_every_wait() -> None:
    async def run() -> None:
        watch = AppliedWatch(Shards().read, WaitLimits(seconds=30.0, poll_seconds=0.0, max_requests=2))
        waiting = [asyncio.create_task(watch.wait({1: Position(5, 0)})) for _ in range(2)]
        await asyncio.sleep(0)
        assert await watch.wait({1: Position(5, 0)}) is False
        watch.close()
        assert await asyncio.gather(*waiting) == [False, False]

    asyncio.run(run())


def test_a_wait_that_nobody_needs_any_more_asks_no_more() -> None:
    async def run() -> None:
        shards = EverythingApplied()
        watch = AppliedWatch(shards.read, PATIENT)
        assert await watch.wait({1: Position(5, 0)})
        await wait_until_async(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        assert await watch.wait({2: Position(5, 0)})
        watch.close()

    asyncio.run(run())

"""Past a bound of lag events are refused at once; what is not known sheds nothing."""

import asyncio
import json
from typing import Any

import pytest

from tests.unit.ingest.builders import FaultyLog, Response, make_event, make_gateway, read_event_ids, send
from tests.waiting import wait_until_async
from viewcounter.eventlog.lag_notice import LagNotice, LagUnknown
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.eventlog.usage_trend import LogMemory
from viewcounter.ingest.load_shedding import LagWatch, find_shed_reason
from viewcounter.ingest.settings import ShedLimits

LIMITS = ShedLimits(bytes=100, seconds=60.0)


class Board:
    """Says what it is told to say, in order."""

    def __init__(self, *said: LagNotice | Exception | None) -> None:
        self.said = list(said)

    def read(self) -> LagNotice | None:
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        pass


class ChangingBoard:
    def __init__(self, notice: LagNotice) -> None:
        self.notice = notice
        self._read_count = 0

    def read(self) -> LagNotice:
        self._read_count += 1
        return self.notice

    def close(self) -> None:
        pass

    async def be_heard(self) -> None:
        """Until it is read by somebody who has acted on a read that began after this call."""
        before = self._read_count
        await wait_until_async(lambda: self._read_count >= before + 2)


async def ignore(_message: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("notice", "word"),
    [
        (None, None),
        (LagNotice(0, 0.0), None),
        (LagNotice(100, 60.0), None),
        (LagNotice(101, 0.0), "101 bytes of events wait"),
        (LagNotice(0, 60.5), "60 seconds behind"),
    ],
)
def test_lag_above_one_of_the_bounds_sheds_and_says_which(notice: LagNotice | None, word: str | None) -> None:
    reason = find_shed_reason(notice, LIMITS, memory=None, full_share=0.9)
    assert reason is None if word is None else word in str(reason)


@pytest.mark.parametrize("used_bytes", [900, 901])
def test_a_log_that_is_almost_full_sheds_whatever_the_lag(used_bytes: int) -> None:
    reason = find_shed_reason(None, LIMITS, memory=LogMemory(used_bytes, 1000, None), full_share=0.9)
    assert (reason is not None and reason.code == "log_full") == (used_bytes > 900)


@pytest.mark.parametrize("unknown", [None, LagUnknown("no answer"), RuntimeError("a defect")])
def test_lag_that_is_not_known_any_more_ends_the_shedding(unknown: Exception | None) -> None:
    board = Board(LagNotice(101, 0.0), unknown)
    watch = LagWatch(board, LIMITS, get_log=MemoryEventLog, full_share=0.9, interval_seconds=1.0)
    watch.look()
    assert watch.reason is not None
    watch.look()
    assert watch.reason is None


def test_a_post_is_shed_before_it_is_read_and_accepted_once_the_lag_is_gone(log: FaultyLog) -> None:
    event = make_event()

    async def run() -> list[Response]:
        board = ChangingBoard(LagNotice(101, 0.0))
        gateway = make_gateway(log, parts={"lag_board": board}, shed_lag_bytes=100, log_lag_interval_seconds=0.001)
        messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        messages.put_nowait({"type": "lifespan.startup"})
        lifespan = asyncio.create_task(gateway({"type": "lifespan"}, messages.get, ignore))
        await board.be_heard()
        refused = await send(gateway, [])  # not even the body has come
        board.notice = LagNotice(3, 0.0)
        await board.be_heard()
        accepted = await send(gateway, json.dumps(event).encode())
        messages.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
        return [refused, accepted]

    refused, accepted = asyncio.run(run())
    assert (refused.status, refused.json["code"]) == (503, "counting_behind")
    assert "101 bytes of events wait" in refused.json["detail"]
    assert 2 <= int(refused.headers["retry-after"]) <= 4
    assert accepted.status == 202
    assert read_event_ids(log) == [event["event_id"]]

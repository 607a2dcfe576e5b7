"""Live counts: one read a video and interval however many watch it, only news, bounded, ended by stop and by a key."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.http.errors import TryLater
from tests.waiting import wait_until_async
from viewcounter.api.fast.answers import Body
from viewcounter.api.public.streams import CountsStreams
from viewcounter.api.settings import StreamSettings
from viewcounter.apikeys.errors import InvalidKey

INTERVAL = 0.02
SETTINGS = StreamSettings(
    max_connections=1000, max_videos=2, interval_seconds=INTERVAL, alive_seconds=30.0, send_seconds=0.3
)
WATCHERS = 250


class Shard:
    """Counts the reads of each video."""

    def __init__(self) -> None:
        self.views: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.error: Exception | None = None

    async def find(self, video_id: str) -> tuple[Body, str]:
        self.reads[video_id] += 1
        if self.error is not None:
            raise self.error
        body = {"video_id": video_id, "counts": {"view": self.views[video_id]}, "meta": {"read": self.reads.total()}}
        return Body(json.dumps(body).encode(), ()), "read"


class Client:
    """One connection; `reads=False` takes nothing after the head of the response."""

    def __init__(self, *, reads: bool = True) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self._reads = reads

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if not self._reads and message["type"] == "http.response.body":
            await asyncio.Event().wait()
        self.messages.append(message)

    @property
    def views(self) -> list[int]:
        text = b"".join(message.get("body", b"") for message in self.messages).decode()
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: "))["counts"]["view"] for line in lines]

    @property
    def has_ended(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


async def allow() -> None:
    pass


def start(
    streams: CountsStreams, client: Client, video_id: str = "cat", check: Callable[[], Awaitable[None]] = allow
) -> "asyncio.Task[None]":
    return asyncio.create_task(streams.serve(video_id, client.receive, client.send, headers=[], check=check))


async def leave(*clients: Client, tasks: list["asyncio.Task[None]"]) -> None:
    for client in clients:
        client.gone.set()
    await asyncio.gather(*tasks)


def test_many_watchers_of_a_video_cost_one_read_an_interval_and_all_see_each_change() -> None:
    async def script() -> None:
        shard = Shard()
        streams = CountsStreams(shard.find, SETTINGS)
        clients = [Client() for _ in range(WATCHERS)]
        tasks = [start(streams, client) for client in clients]
        await wait_until_async(lambda: all(client.views == [0] for client in clients))
        joined = shard.reads["cat"]
        began_at = asyncio.get_running_loop().time()
        for views in (7, 9):
            shard.views["cat"] = views
            await wait_until_async(lambda views=views: all(client.views[-1] == views for client in clients))
        assert all(client.views == [0, 7, 9] for client in clients)
        intervals = (asyncio.get_running_loop().time() - began_at) / INTERVAL
        assert 2 <= shard.reads["cat"] - joined <= intervals + 1
        assert streams.count == WATCHERS
        await leave(*clients, tasks=tasks)
        assert streams.count == 0
        await wait_until_async(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    asyncio.run(script())


def test_a_watcher_that_reads_nothing_is_cut_off_and_holds_up_no_other() -> None:
    async def script() -> None:
        shard = Shard()
        streams = CountsStreams(shard.find, SETTINGS)
        slow, quick = Client(reads=False), Client()
        slow_task, quick_task = start(streams, slow), start(streams, quick)
        shard.views["cat"] = 1
        await wait_until_async(lambda: quick.views[-1:] == [1])
        await wait_until_async(slow_task.done)
        assert streams.count == 1
        await leave(quick, tasks=[quick_task])

    asyncio.run(script())


def test_connections_and_videos_are_bounded_and_refused_before_anything_is_sent() -> None:
    async def script() -> None:
        shard = Shard()
        settings = StreamSettings(
            max_connections=3, max_videos=2, interval_seconds=INTERVAL, alive_seconds=30.0, send_seconds=1.0
        )
        streams = CountsStreams(shard.find, settings)
        clients = [Client() for _ in range(5)]
        tasks = [start(streams, clients[0], "cat"), start(streams, clients[1], "dog")]
        await wait_until_async(lambda: clients[0].views == clients[1].views == [0])
        with pytest.raises(TryLater, match="2 videos are watched live"):
            await start(streams, clients[2], "cow")
        tasks.append(start(streams, clients[3], "cat"))
        await wait_until_async(lambda: clients[3].views == [0])
        with pytest.raises(TryLater, match="3 live streams are open"):
            await start(streams, clients[4], "cat")
        assert clients[2].messages == clients[4].messages == []
        await leave(*clients, tasks=tasks)
        tasks = [start(streams, clients[2], "cow")]
        await wait_until_async(lambda: clients[2].views == [0])
        await leave(clients[2], tasks=tasks)

    asyncio.run(script())


def test_a_stopping_process_ends_its_streams() -> None:
    async def script() -> None:
        streams = CountsStreams(Shard().find, SETTINGS)
        client = Client()
        task = start(streams, client)
        await wait_until_async(lambda: client.views == [0])
        streams.stop()
        await task
        assert client.has_ended

    asyncio.run(script())


def test_a_revoked_key_ends_its_stream_at_the_next_sign_of_life() -> None:
    async def script() -> None:
        settings = StreamSettings(
            max_connections=3, max_videos=2, interval_seconds=INTERVAL, alive_seconds=0.05, send_seconds=1.0
        )
        streams = CountsStreams(Shard().find, settings)
        client, is_revoked = Client(), asyncio.Event()

        async def check() -> None:
            if is_revoked.is_set():
                raise InvalidKey

        task = start(streams, client, check=check)
        await wait_until_async(lambda: any(message.get("body") == b": alive\n\n" for message in client.messages))
        assert not task.done()
        is_revoked.set()
        await task
        assert client.has_ended
        assert client.views == [0]

    asyncio.run(script())


def test_watchers_keep_the_last_counts_while_they_cannot_be_read() -> None:
    async def script() -> None:
        shard = Shard()
        streams = CountsStreams(shard.find, SETTINGS)
        client = Client()
        task = start(streams, client)
        await wait_until_async(lambda: client.views == [0])
        shard.error = OSError("no shard")
        shard.views["cat"] = 5
        reads = shard.reads["cat"]
        await wait_until_async(lambda: shard.reads["cat"] > reads + 2)
        assert client.views == [0]
        shard.error = None
        await wait_until_async(lambda: client.views == [0, 5])
        await leave(client, tasks=[task])

    asyncio.run(script())

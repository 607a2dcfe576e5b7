"""Live counts as server-sent events: one reader a video, however many watch it, and a bounded number of connections.

The counts of a watched video are read once an interval. Watchers get the newest ones when they differ; one that reads
slowly skips those in between, and is cut off if it reads nothing. So ten thousand watchers of a video cost one query an
interval, and a slow one costs nobody else anything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runtime.http.asgi import Receive, Send
from runtime.http.errors import TryLater
from runtime.http.problems import Problem
from runtime.metrics import COUNTS_STREAMS
from runtime.transitions import OutageLog
from viewcounter.api.fast.answers import Body
from viewcounter.api.settings import StreamSettings

logger = logging.getLogger(__name__)

WAKES_AT_ONCE = 100
"""Watchers that are woken before other requests of the process get their turn."""
RECONNECT = b"retry: 2000\n\n"
"""Tells a browser to connect again after so many milliseconds."""
_ALIVE = b": alive\n\n"
_END_SECONDS = 1.0

FindCounts = Callable[[str], Awaitable[tuple[Body, str]]]


@dataclass(slots=True, eq=False)
class _Watcher:
    news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class _Channel:
    """One video's watchers. `event` is what each of them has, or will have next; `body` is what it was made of."""

    body: Body
    counts: Any
    event: bytes
    watchers: dict[_Watcher, None] = field(default_factory=dict)
    reader: "asyncio.Task[None] | None" = None


class CountsStreams:
    """Lives on one event loop. Invariant: at most one read of a video is open, none is made for a video that nobody
    watches, and there are at most `max_connections` watchers of at most `max_videos` videos."""

    def __init__(self, find_counts: FindCounts, settings: StreamSettings) -> None:
        self._find_counts = find_counts
        self._settings = settings
        self._channels: dict[str, _Channel] = {}
        self._count = 0
        self._is_stopping = False
        self._outage = OutageLog(
            logger,
            failed="live counts cannot be read, their watchers keep the last ones",
            recovered="live counts are read again",
        )

    @property
    def count(self) -> int:
        """Connections now."""
        return self._count

    def stop(self) -> None:
        """Ends every stream; browsers connect again, to another process."""
        self._is_stopping = True
        for channel in self._channels.values():
            for watcher in channel.watchers:
                watcher.news.set()

    async def serve(
        self,
        video_id: str,
        receive: Receive,
        send: Send,
        *,
        headers: list[tuple[bytes, bytes]],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        """One response, until the client leaves, `check` raises or the process stops.

        Raises TryLater (503) and what the first read raises, before anything is sent.
        """
        with self._take_place():
            body, _ = await self._find_counts(video_id)
            with self._join(video_id, body) as (channel, watcher):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                writing = asyncio.create_task(self._write(channel, watcher, send, check))
                leaving = asyncio.create_task(_wait_until_gone(receive))
                try:
                    await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (writing, leaving):
                        task.cancel()
                    await asyncio.gather(writing, leaving, return_exceptions=True)
                if leaving.cancelled():
                    await _end(send)

    @contextmanager
    def _take_place(self) -> Iterator[None]:
        if self._count >= self._settings.max_connections:
            raise _full(f"{self._count} live streams are open, the most of a process.")
        self._count += 1
        COUNTS_STREAMS.set(self._count)
        try:
            yield
        finally:
            self._count -= 1
            COUNTS_STREAMS.set(self._count)

    @contextmanager
    def _join(self, video_id: str, body: Body) -> Iterator[tuple[_Channel, _Watcher]]:
        channel = self._channels.get(video_id)
        if channel is None:
            if len(self._channels) >= self._settings.max_videos:
                raise _full(f"{len(self._channels)} videos are watched live, the most of a process.")
            channel = self._channels[video_id] = _Channel(body, _decode_counts(body), _render_event(body))
            # It outlives this request, whose log fields are not its own.
            channel.reader = asyncio.create_task(self._read(video_id, channel), context=Context())
        watcher = _Watcher()
        channel.watchers[watcher] = None
        try:
            yield channel, watcher
        finally:
            del channel.watchers[watcher]
            if not channel.watchers and channel.reader is not None:
                channel.reader.cancel()
                del self._channels[video_id]

    async def _read(self, video_id: str, channel: _Channel) -> None:
        """Never raises: whatever a read raises, the next interval begins with another one."""
        while True:
            await asyncio.sleep(self._settings.interval_seconds)
            try:
                body, _ = await self._find_counts(video_id)
            except Exception as error:
                self._outage.report_failure(error)
                continue
            self._outage.report_success()
            if body is channel.body:
                continue
            counts = _decode_counts(body)
            if counts != channel.counts:
                channel.event = _render_event(body)
                await _wake(list(channel.watchers))
            channel.body, channel.counts = body, counts

    async def _write(
        self, channel: _Channel, watcher: _Watcher, send: Send, check: Callable[[], Awaitable[None]]
    ) -> None:
        sent, text = b"", RECONNECT
        while True:
            if channel.event is not sent:
                sent = channel.event
                text += sent
            async with asyncio.timeout(self._settings.send_seconds):
                await send({"type": "http.response.body", "body": text, "more_body": True})
            watcher.news.clear()
            text = b""
            if channel.event is sent and not self._is_stopping and not await self._wait_for_news(watcher):
                await check()
                text = _ALIVE
            if self._is_stopping:
                return

    async def _wait_for_news(self, watcher: _Watcher) -> bool:
        """False when there were none for a while."""
        try:
            async with asyncio.timeout(self._settings.alive_seconds):
                await watcher.news.wait()
        except TimeoutError:
            return False
        return True


async def _wake(watchers: list[_Watcher]) -> None:
    for number, watcher in enumerate(watchers, 1):
        watcher.news.set()
        if number % WAKES_AT_ONCE == 0:
            await asyncio.sleep(0)


async def _end(send: Send) -> None:
    """The client is there, but perhaps reads nothing; then the server closes its connection."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _decode_counts(body: Body) -> Any:
    return msgspec.json.decode(body.content)["counts"]


def _render_event(body: Body) -> bytes:
    """JSON has no line breaks, so it is one line of data."""
    return b"event: counts\ndata: " + body.content + b"\n\n"


def _full(detail: str) -> TryLater:
    return TryLater(Problem(503, "too_many_streams", f"{detail} Ask for the counts now and then instead."))

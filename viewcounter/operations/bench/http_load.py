"""A load generator that costs little itself: kept-alive connections on one event loop, nothing parsed but the length.

Closed: each connection asks as soon as it is answered, so the figure is what the server can do. Open: requests begin
at times fixed beforehand, and a request that has to wait for a connection has waited (no coordinated omission).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

from viewcounter.operations.bench.errors import WrongAnswer

_LENGTH = b"content-length: "
_END = b"\r\n\r\n"


@dataclass(slots=True)
class Load:
    """`latencies`: seconds of each request measured. `answered_count`: those of warming up included."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answered_count: int = 0

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def get_percentile_ms(self, percent: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


def run_closed(
    address: tuple[str, int], requests: Iterator[bytes], *, connections: int, warm_seconds: float, seconds: float
) -> Load:
    """Raises WrongAnswer for anything but a 200."""
    return uvloop.run(_run_closed(address, requests, connections, warm_seconds, seconds))


def run_open(
    address: tuple[str, int], requests: Iterator[bytes], *, connections: int, per_second: float, seconds: float
) -> Load:
    """Raises WrongAnswer for anything but a 200."""
    return uvloop.run(_run_open(address, requests, connections, per_second, seconds))


async def _run_closed(
    address: tuple[str, int], requests: Iterator[bytes], connections: int, warm_seconds: float, seconds: float
) -> Load:
    load = Load()
    begins_at = time.perf_counter() + warm_seconds
    ends_at = begins_at + seconds
    clients = [await _connect(address) for _ in range(connections)]

    def ask_again(client: _Client) -> None:
        now = time.perf_counter()
        load.answered_count += 1
        if client.asked_at >= begins_at:
            load.latencies.append(now - client.asked_at)
        if now < ends_at:
            client.ask(next(requests), at=now)

    try:
        for client in clients:
            client.on_answer = ask_again
            client.ask(next(requests), at=time.perf_counter())
        await asyncio.sleep(warm_seconds + seconds)
        _check(clients)
        if not load.latencies:
            raise WrongAnswer("nothing was answered")
    finally:
        for client in clients:
            client.close()
    load.seconds = seconds
    return load


async def _run_open(
    address: tuple[str, int], requests: Iterator[bytes], connections: int, per_second: float, seconds: float
) -> Load:
    load = Load()
    clients = [await _connect(address) for _ in range(connections)]
    free = deque(clients)
    waiting: deque[float] = deque()

    def serve() -> None:
        while waiting and free:
            free.pop().ask(next(requests), at=waiting.popleft())

    def take_back(client: _Client) -> None:
        load.latencies.append(time.perf_counter() - client.asked_at)
        load.answered_count += 1
        free.append(client)
        serve()

    try:
        for client in clients:
            client.on_answer = take_back
        started_at, count = time.perf_counter(), int(per_second * seconds)
        for number in range(count):
            due_at = started_at + number / per_second
            delay = due_at - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            waiting.append(due_at)
            serve()
            _check(clients)
        while len(load.latencies) < count:
            await asyncio.sleep(0.01)
            _check(clients)
    finally:
        for client in clients:
            client.close()
    load.seconds = time.perf_counter() - started_at
    return load


async def _connect(address: tuple[str, int]) -> "_Client":
    _, client = await asyncio.get_running_loop().create_connection(_Client, *address)
    return client


def _check(clients: "list[_Client]") -> None:
    for client in clients:
        if client.fault is not None:
            raise WrongAnswer(client.fault)


class _Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self.on_answer: Callable[[_Client], None] = _ignore
        self.asked_at = 0.0
        self.fault: str | None = None
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own do not say that they are one

    def ask(self, request: bytes, *, at: float) -> None:
        self.asked_at = at
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        self.on_answer = _ignore
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_END)
        if head_end < 0:
            return
        length_at = self._buffer.find(_LENGTH, 0, head_end) + len(_LENGTH)
        length = int(self._buffer[length_at : self._buffer.find(b"\r", length_at)])
        if len(self._buffer) < head_end + len(_END) + length:
            return
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self.fault = self._buffer[:500].decode("latin-1")
        self._buffer = b""
        self.on_answer(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.on_answer is not _ignore:
            self.fault = self.fault or f"the connection ended: {exc}"


def _ignore(_client: _Client) -> None:
    pass

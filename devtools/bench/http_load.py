"""A cheap load generator: connections on one event loop, which parses only the length of answers.

Closed loop: each connection sends its next request after the answer, which measures capacity. Open loop: requests have
scheduled times, and waiting for a connection counts as latency (no coordinated omission). In both every request is
answered before the end, so the answers account for all work of the server.
"""

import asyncio
import resource
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop

from devtools.bench.errors import WrongAnswer
from devtools.bench.http_connection import Connection, check_answers

SETTLE_SECONDS = 120.0
"""Time limit for the last answers, also of a server that was overloaded for a minute."""
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, and the scheduled time of its request, by `time.perf_counter`."""

    due_at: float
    body: bytes


@dataclass(slots=True)
class Load:
    """`latencies`: seconds of each measured request, `finished_count` of which were answered within `seconds`.

    `answered_count` includes warming up. `cpu_seconds`: of the generator itself, for all requests. `answers`: all of
    them, if they were kept.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    finished_count: int = 0
    answered_count: int = 0
    cpu_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    answers: list[HttpAnswer] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.finished_count / self.seconds

    @property
    def generator_share(self) -> float:
        """Utilization of the generator's core, 0 to 1; near 1 the generator limits the result."""
        return self.cpu_seconds / self.elapsed_seconds

    def get_percentile_ms(self, percent: float) -> float:
        """100 for the slowest."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


def run_closed(
    address: tuple[str, int],
    requests: Iterator[bytes],
    *,
    connections: int,
    warm_seconds: float,
    seconds: float,
    status: int = 200,
    keeps_answers: bool = False,
) -> Load:
    """Closed loop, until the time is over or `requests` ends. Raises WrongAnswer for another status."""
    run = _ClosedRun(address, requests, connections, status, keeps_answers=keeps_answers)
    return _run(run, warm_seconds=warm_seconds, seconds=seconds)


def run_open(
    address: tuple[str, int],
    requests: Iterator[bytes],
    *,
    connections: int,
    per_second: float,
    seconds: float,
    status: int = 200,
    keeps_answers: bool = False,
) -> Load:
    """Raises WrongAnswer for any other status."""
    run = _OpenRun(address, requests, connections, status, keeps_answers=keeps_answers)
    return _run(run, per_second=per_second, seconds=seconds)


def _run(run: "_ClosedRun | _OpenRun", **arguments: float) -> Load:
    started_at, cpu_before = time.perf_counter(), _get_cpu_seconds()
    uvloop.run(run.run(**arguments))
    load = run.load
    load.elapsed_seconds = time.perf_counter() - started_at
    load.cpu_seconds = _get_cpu_seconds() - cpu_before
    if not load.latencies:
        raise WrongAnswer("no request was answered")
    return load


class _Run:
    """Common state of both loops: target, requests and results."""

    def __init__(
        self,
        address: tuple[str, int],
        requests: Iterator[bytes],
        connections: int,
        status: int,
        *,
        keeps_answers: bool,
    ) -> None:
        self.load = Load()
        self._address = address
        self._requests = requests
        self._count = connections
        self._status = status
        self._keeps_answers = keeps_answers

    def _keep(self, connection: Connection, body: bytes) -> None:
        self.load.answered_count += 1
        if self._keeps_answers:
            self.load.answers.append(HttpAnswer(connection.asked_at, body))


class _ClosedRun(_Run):
    def __init__(self, *arguments: Any, keeps_answers: bool) -> None:
        super().__init__(*arguments, keeps_answers=keeps_answers)
        self._begins_at = self._ends_at = 0.0
        self._has_ended = False
        """The requests have, before the time."""

    async def run(self, *, warm_seconds: float, seconds: float) -> None:
        self.load.seconds = seconds
        self._begins_at = time.perf_counter() + warm_seconds
        self._ends_at = self._begins_at + seconds
        connections = await _connect(self._address, self._count, self._status)
        try:
            for connection in connections:
                connection.on_answer = self._take
                self._send(connection, time.perf_counter())
            while not self._has_ended and time.perf_counter() < self._ends_at:
                check_answers(connections)
                await asyncio.sleep(_POLL_SECONDS)
            await _settle(connections)
            if self._has_ended:
                self.load.seconds = time.perf_counter() - self._begins_at
        finally:
            _close(connections)

    def _take(self, connection: Connection, body: bytes) -> None:
        now, load = time.perf_counter(), self.load
        self._keep(connection, body)
        if connection.asked_at >= self._begins_at:
            load.latencies.append(now - connection.asked_at)
        if self._begins_at <= now < self._ends_at:
            load.finished_count += 1
        if now < self._ends_at:
            self._send(connection, now)

    def _send(self, connection: Connection, now: float) -> None:
        request = next(self._requests, None)
        if request is None:
            self._has_ended = True
        else:
            connection.send(request, at=now)


class _OpenRun(_Run):
    def __init__(self, *arguments: Any, keeps_answers: bool) -> None:
        super().__init__(*arguments, keeps_answers=keeps_answers)
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()

    async def run(self, *, per_second: float, seconds: float) -> None:
        connections = await _connect(self._address, self._count, self._status)
        self._free.extend(connections)
        try:
            for connection in connections:
                connection.on_answer = self._take
            started_at = time.perf_counter()
            for number in range(max(1, int(per_second * seconds))):
                due_at = started_at + number / per_second
                delay = due_at - time.perf_counter()
                if delay > 0:
                    await asyncio.sleep(delay)
                self._waiting.append(due_at)
                self._serve()
                if number % self._count == 0:
                    check_answers(connections)
            await _settle(connections, self._waiting)
            self.load.seconds = time.perf_counter() - started_at
        finally:
            _close(connections)

    def _serve(self) -> None:
        while self._waiting and self._free:
            self._free.pop().send(next(self._requests), at=self._waiting.popleft())

    def _take(self, connection: Connection, body: bytes) -> None:
        load = self.load
        self._keep(connection, body)
        load.latencies.append(time.perf_counter() - connection.asked_at)
        load.finished_count += 1
        self._free.append(connection)
        self._serve()


async def _connect(address: tuple[str, int], count: int, status: int) -> list[Connection]:
    connections = [Connection(address, status) for _ in range(count)]
    for connection in connections:
        await connection.open()
    return connections


async def _settle(connections: list[Connection], waiting: "deque[float] | None" = None) -> None:
    """Wait until every request is answered. Raises WrongAnswer, also after SETTLE_SECONDS."""
    deadline = time.perf_counter() + SETTLE_SECONDS
    while True:
        check_answers(connections)
        if not waiting and not any(connection.is_waiting for connection in connections):
            return
        if time.perf_counter() > deadline:
            raise WrongAnswer(f"requests were not answered within {SETTLE_SECONDS:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


def _get_cpu_seconds() -> float:
    """CPU time of this thread, which runs the whole load."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime

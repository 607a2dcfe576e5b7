"""Waits until events are counted, for all requests of a process at once.

However many requests wait, one thread asks the shards, one question at a time, and a request costs a future and no
thread. What is not applied in time is no error: it is in the log, and will be.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runtime.transitions import OutageLog
from viewcounter.eventlog.interface import Position

logger = logging.getLogger(__name__)

ReadPositions = Callable[[Collection[int]], Mapping[int, Position]]
"""How far some partitions have come. Blocks a bounded time, may leave partitions out, may raise."""


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """`seconds` of one request, `poll_seconds` between two questions, `max_requests` that wait at once."""

    seconds: float
    poll_seconds: float
    max_requests: int


@dataclass(eq=False, slots=True)
class _Waiter:
    """`behind`: the positions that have not been reached yet."""

    behind: dict[int, Position]
    applied: "asyncio.Future[bool]"


class AppliedWatch:
    """Lives on one event loop. Invariant: while anybody waits, exactly one task asks."""

    def __init__(self, read_positions: ReadPositions, limits: WaitLimits) -> None:
        self._read_positions = read_positions
        self._limits = limits
        self._waiters: set[_Waiter] = set()
        self._asking: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="applied-positions")
        self._outage = OutageLog(
            logger,
            failed="positions cannot be read for those who wait until they are applied",
            recovered="positions are read again for those who wait until they are applied",
        )

    async def wait(self, positions: Mapping[int, Position]) -> bool:
        """Whether everything up to `positions` has been applied; False also at once when as many wait as may."""
        if len(self._waiters) >= self._limits.max_requests:
            return False
        loop = asyncio.get_running_loop()
        waiter = _Waiter(dict(positions), loop.create_future())
        self._waiters.add(waiter)
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_on())
        try:
            return await asyncio.wait_for(waiter.applied, self._limits.seconds)
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Whoever still waits is answered now."""
        for waiter in self._waiters:
            if not waiter.applied.done():
                waiter.applied.set_result(False)
        if self._asking is not None:
            self._asking.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _ask_on(self) -> None:
        loop = asyncio.get_running_loop()
        while wanted := sorted({partition for waiter in self._waiters for partition in waiter.behind}):
            try:
                reached = await loop.run_in_executor(self._executor, self._read_positions, wanted)
            except Exception as error:  # whatever the shards say, those who wait are answered at their time's end
                self._outage.report_failure(error)
            else:
                self._outage.report_success()
                self._tell(reached)
            await asyncio.sleep(self._limits.poll_seconds)

    def _tell(self, reached: Mapping[int, Position]) -> None:
        for waiter in self._waiters:
            waiter.behind = {
                p: wanted for p, wanted in waiter.behind.items() if p not in reached or reached[p] < wanted
            }
            if not waiter.behind and not waiter.applied.done():
                waiter.applied.set_result(True)

"""Waits until events are applied, for all waiting requests of a process with one query.

However many requests wait, one thread queries the shards, one query at a time; a request costs a future and no thread.
A wait that times out is no error: the events are in the log and will be applied. That the log has lost them is one.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass

from clusterproxy.errors import PositionLost
from clusterproxy.freshness import LostPosition, Progress
from runtime.transitions import OutageLog
from viewcounter.eventlog.interface import Position
from viewcounter.ingest.settings import WaitLimits

logger = logging.getLogger(__name__)

ReadApplied = Callable[[Collection[int]], Mapping[int, Progress]]
"""What the shards have applied of partitions. Blocks a bounded time, may leave partitions out, may raise."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """`behind`: positions that are not applied yet."""

    behind: dict[int, Position]
    applied: "asyncio.Future[bool]"


class AppliedWatch:
    """Lives on one event loop. Invariant: while a request waits, exactly one task polls."""

    def __init__(self, read_applied: ReadApplied, limits: WaitLimits) -> None:
        self._read_applied = read_applied
        self._limits = limits
        self._waiters: set[_Waiter] = set()
        self._polling: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="applied-positions")
        self._outage = OutageLog(
            logger,
            failed="requests with wait=applied time out, the applied positions cannot be read",
            recovered="the applied positions are read again, for requests with wait=applied",
        )

    async def wait(self, positions: Mapping[int, Position]) -> bool:
        """Whether `positions` are applied in time. False at once where `max_requests` wait already.

        Raises PositionLost if the log has lost one of them.
        """
        if len(self._waiters) >= self._limits.max_requests:
            return False
        loop = asyncio.get_running_loop()
        waiter = _Waiter(dict(positions), loop.create_future())
        self._waiters.add(waiter)
        if self._polling is None or self._polling.done():
            self._polling = loop.create_task(self._poll(), context=Context())  # not with the log fields of this request
        try:
            return await asyncio.wait_for(waiter.applied, self._limits.seconds)
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Ends every wait with False."""
        for waiter in self._waiters:
            if not waiter.applied.done():
                waiter.applied.set_result(False)
        if self._polling is not None:
            self._polling.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while wanted := sorted({partition for waiter in self._waiters for partition in waiter.behind}):
            try:
                reached = await loop.run_in_executor(self._executor, self._read_applied, wanted)
            except Exception as error:  # waiting requests time out; the next poll may succeed
                self._outage.report_failure(error)
            else:
                self._outage.report_success()
                self._notify(reached)
            await asyncio.sleep(self._limits.poll_seconds)

    def _notify(self, reached: Mapping[int, Progress]) -> None:
        for waiter in self._waiters:
            if waiter.applied.done():
                continue
            lost = _find_lost(waiter.behind, reached)
            waiter.behind = {
                p: wanted for p, wanted in waiter.behind.items() if p not in reached or reached[p].position < wanted
            }
            if lost is not None:
                waiter.applied.set_exception(PositionLost(lost))
            elif not waiter.behind:
                waiter.applied.set_result(True)


def _find_lost(wanted: Mapping[int, Position], reached: Mapping[int, Progress]) -> LostPosition | None:
    for partition, position in wanted.items():
        for after, through in reached[partition].lost if partition in reached else ():
            if after < position <= through:
                return LostPosition(partition, position, after, through)
    return None

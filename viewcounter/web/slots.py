"""How many requests of a kind Django works on at once. The others wait on the event loop, where one costs no thread."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from viewcounter.ingest.errors import NoSlot
from viewcounter.web.body import Receive

Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class Slots:
    """Lives on one event loop. `max_waiting` requests wait for a slot, each `wait_seconds` at most, in order."""

    def __init__(self, *, max_at_once: int, max_waiting: int, wait_seconds: float) -> None:
        self._free = asyncio.Semaphore(max_at_once)
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._waiting_count = 0

    async def serve(self, application: AsgiApplication, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Raises NoSlot before the application has been asked.

        The slot is free again when the answer begins: a client that does not read its answer holds none.
        """
        await self._enter()
        is_held = True

        def leave() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._free.release()

        async def leave_and_send(message: dict[str, Any]) -> None:
            leave()
            await send(message)

        try:
            await application(scope, receive, leave_and_send)
        finally:
            leave()

    async def _enter(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting_count >= self._max_waiting:
            raise NoSlot
        self._waiting_count += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoSlot from error
        finally:
            self._waiting_count -= 1

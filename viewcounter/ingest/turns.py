"""Large bodies in turns: of each key one is unpacked or decoded in a pass of the event loop, whoever sends how many.

Work on a large body takes milliseconds in which the process does nothing else. What has come of many at once would be
worked on in a row, and a small post of somebody else would wait for all of them.
"""

import asyncio
from dataclasses import dataclass, field

LARGE_BYTES = 64 * 1024
"""A body from here on is worth a pass of the event loop; so is each packed one."""


@dataclass(slots=True)
class _Queue:
    """`count`: of those who wait, or are at their turn."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0


class Turns:
    """Lives on one event loop. Invariant: it knows exactly the owners somebody waits for."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    async def wait(self, owner: str) -> None:
        """Until it is the caller's turn; what it does before it waits for anything else is its turn."""
        queue = self._queues.setdefault(owner, _Queue())
        queue.count += 1
        try:
            async with queue.lock:
                await asyncio.sleep(0)
        finally:
            queue.count -= 1
            if queue.count == 0:
                del self._queues[owner]

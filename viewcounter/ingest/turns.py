"""Fair scheduling of large bodies: one body of each API key is decompressed or decoded in a pass of the event loop.

Work on a large body takes milliseconds in which the process does nothing else. Many large bodies that arrive at once
would otherwise be processed in a row, and a small request of another client would wait for all of them.
"""

import asyncio
from dataclasses import dataclass, field

LARGE_BYTES = 64 * 1024
"""A body of at least this size waits for its turn, and so does each compressed one."""


@dataclass(slots=True)
class _Queue:
    """`count`: callers that wait, or have their turn."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0


class Turns:
    """Lives on one event loop. Invariant: there is a queue for exactly the owners with a waiting caller."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    async def wait(self, owner: str) -> None:
        """Waits for the caller's turn, which lasts until the caller awaits again."""
        queue = self._queues.setdefault(owner, _Queue())
        queue.count += 1
        try:
            async with queue.lock:
                await asyncio.sleep(0)
        finally:
            queue.count -= 1
            if queue.count == 0:
                del self._queues[owner]

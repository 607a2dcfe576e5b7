"""Sheds events while the drains lag too far behind: the ingest endpoint then refuses before it reads a body.

The log has room for hours, and answers name their watermark, so the bounds are generous: they are for drains that have
stopped unnoticed. An unknown lag sheds nothing.
"""

import asyncio
import logging
from dataclasses import dataclass

from viewcounter.eventlog.lag_notice import LagBoard, LagNotice, LagUnknown

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShedLimits:
    """Events are shed while a LagNotice is above one of these."""

    events: int
    seconds: float


def find_shed_reason(notice: LagNotice | None, limits: ShedLimits) -> str | None:
    """Why events are shed, for the client; None: they are accepted."""
    if notice is None:
        return None
    if notice.events > limits.events:
        return f"{notice.events} events wait to be counted; more are taken below {limits.events}."
    if notice.seconds > limits.seconds:
        return f"Counting is {notice.seconds:.0f} seconds behind; events are taken again below {limits.seconds:g}."
    return None


class LagWatch:
    """Reads the lag in the background, so that no request waits for it. `reason`: as of the last read."""

    def __init__(self, board: LagBoard, limits: ShedLimits, *, interval_seconds: float) -> None:
        self.reason: str | None = None
        self._board = board
        self._limits = limits
        self._interval_seconds = interval_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await asyncio.to_thread(self._board.close)

    async def look(self) -> None:
        """Reads the lag once. Never raises."""
        try:
            notice = await asyncio.to_thread(self._board.read)
        except LagUnknown:
            notice = None
        except Exception:  # a dead task would leave the last reason in force for ever
            logger.exception("the lag of the drains cannot be read; nothing is shed for it")
            notice = None
        reason = find_shed_reason(notice, self._limits)
        if (reason is None) != (self.reason is None):
            logger.warning(
                "shedding events: %s", reason or "stopped, the drains have caught up or their lag is unknown"
            )
        self.reason = reason

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._interval_seconds)

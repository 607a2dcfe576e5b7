"""Sheds events while the drains lag too far behind: the ingest endpoint then refuses before it reads a body.

The log has room for hours, and answers name their watermark, so the bounds are generous: they are for drains that have
stopped unnoticed. An unknown lag sheds nothing.
"""

import logging

from runtime.periodic import PeriodicTask
from viewcounter.eventlog.lag_notice import LagBoard, LagNotice, LagUnknown
from viewcounter.ingest.settings import ShedLimits

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0


def find_shed_reason(notice: LagNotice | None, limits: ShedLimits) -> str | None:
    """Why events are shed, for the client; None: they are accepted."""
    if notice is None:
        return None
    if notice.bytes > limits.bytes:
        return f"{notice.bytes} bytes of events wait to be counted; events are taken again below {limits.bytes}."
    if notice.seconds > limits.seconds:
        return f"Counting is {notice.seconds:.0f} seconds behind; events are taken again below {limits.seconds:g}."
    return None


class LagWatch:
    """Reads the lag in the background, so that no request waits for it. `reason`: as of the last read."""

    def __init__(self, board: LagBoard, limits: ShedLimits, *, interval_seconds: float) -> None:
        self.reason: str | None = None
        self._board = board
        self._limits = limits
        self._task = PeriodicTask("lag-watch", self.look, interval_seconds=interval_seconds)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)
        self._board.close()

    def look(self) -> None:
        """Reads the lag once. Never raises."""
        try:
            notice = self._board.read()
        except LagUnknown:
            notice = None
        except Exception:  # otherwise the last reason would stay in force
            logger.exception("the lag of the drains cannot be read; nothing is shed for it")
            notice = None
        reason = find_shed_reason(notice, self._limits)
        if (reason is None) != (self.reason is None):
            logger.warning(
                "shedding events: %s", reason or "stopped, the drains have caught up or their lag is unknown"
            )
        self.reason = reason

"""Sheds events while the drains lag too far behind, and before the log is full: the ingest endpoint then refuses
before it reads a body.

The log has room for hours, and answers name their watermark, so the bounds are generous: they are for drains that have
stopped unnoticed. An unknown lag sheds nothing.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from runtime.metrics import LOG_MEMORY_FULL_SECONDS, LOG_MEMORY_MAX_BYTES, LOG_MEMORY_USED_BYTES
from runtime.periodic import PeriodicTask
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import EventLog
from viewcounter.eventlog.lag_notice import LagBoard, LagNotice, LagUnknown
from viewcounter.eventlog.usage_trend import LogMemory, UsageTrend
from viewcounter.ingest.settings import ShedLimits

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0


class ShedReason(NamedTuple):
    """`code` and `detail` of the 503."""

    code: str
    detail: str


def find_shed_reason(
    notice: LagNotice | None, limits: ShedLimits, *, memory: LogMemory | None, full_share: float
) -> ShedReason | None:
    """Why events are shed, for the client; None: they are accepted. `memory` None: unknown, or without a limit."""
    if memory is not None and memory.used_share > full_share:
        detail = (
            f"The event log uses {memory.used_share:.0%} of its memory; events are taken again below {full_share:.0%}."
        )
        return ShedReason("log_full", detail)
    if notice is None:
        return None
    if notice.bytes > limits.bytes:
        detail = f"{notice.bytes} bytes of events wait to be counted; events are taken again below {limits.bytes}."
        return ShedReason("counting_behind", detail)
    if notice.seconds > limits.seconds:
        detail = f"Counting is {notice.seconds:.0f} seconds behind; events are taken again below {limits.seconds:g}."
        return ShedReason("counting_behind", detail)
    return None


class LagWatch:
    """Reads the lag, and the memory of the log, in the background, so that no request waits for them. `reason`: as of
    the last read."""

    def __init__(
        self,
        board: LagBoard,
        limits: ShedLimits,
        *,
        get_log: Callable[[], EventLog],
        full_share: float,
        interval_seconds: float,
    ) -> None:
        """`full_share`: of the log's memory, beyond which events are shed."""
        self.reason: ShedReason | None = None
        self._get_log = get_log
        self._full_share = full_share
        self._trend = UsageTrend()
        self._board = board
        self._limits = limits
        self._task = PeriodicTask("lag-watch", self.look, interval_seconds=interval_seconds)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)
        self._board.close()

    def look(self) -> None:
        """Reads lag and memory once. Never raises."""
        try:
            notice = self._board.read()
        except LagUnknown:
            notice = None
        except Exception:  # otherwise the last reason would stay in force
            logger.exception("the lag of the drains cannot be read; nothing is shed for it")
            notice = None
        reason = find_shed_reason(notice, self._limits, memory=self._read_memory(), full_share=self._full_share)
        if (reason is None) != (self.reason is None):
            logger.warning(
                "shedding events: %s",
                "stopped, there is room and the drains have caught up, or both are unknown"
                if reason is None
                else reason.detail,
            )
        self.reason = reason

    def _read_memory(self) -> LogMemory | None:
        try:
            usage = self._get_log().read_usage(())
        except EventLogError:  # appends fail as well, and say so
            return None
        except Exception:
            logger.exception("the memory of the event log cannot be read; nothing is shed for it")
            return None
        memory = self._trend.add(usage, at=time.monotonic())
        if memory is not None:
            LOG_MEMORY_USED_BYTES.set(memory.used_bytes)
            LOG_MEMORY_MAX_BYTES.set(memory.max_bytes)
            LOG_MEMORY_FULL_SECONDS.set(math.inf if memory.full_seconds is None else memory.full_seconds)
        return memory

"""Watches the event log: which entries it still holds, and how much memory it uses to keep entries for absent replicas.

A replica may be promoted only while the log holds all entries that it has not applied. So the log is kept for an absent
replica, but only up to a share of its memory: a full log would stop all ingest. The function that reads the log is
passed in, since the log belongs to `viewcounter.eventlog`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from configservice.errors import LogUnavailable
from configservice.topology.model import Topology
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

LogPosition = tuple[int, int]
"""Term and sequence; written `term-seq`."""

INTERVAL_SECONDS = 5.0
TREND_READINGS = 12
"""Number of readings over which the growth is computed."""
STOP_SECONDS = 2.0

READ_POSITIONS = "SELECT partition, position FROM partition_state"
"""On an instance: the positions that it has applied."""


@dataclass(frozen=True, slots=True)
class LogReading:
    """By partition: `floors`, the positions below which the log holds no entries, and the bytes of its entries.

    `max_bytes`: memory limit of the log; None without one.
    """

    floors: Mapping[int, LogPosition]
    kept_bytes: Mapping[int, int]
    max_bytes: int | None


ReadLog = Callable[[str, Sequence[int]], LogReading]
"""Reads these partitions of the log with this id (empty: any). Raises LogUnavailable within a bounded time."""


@dataclass(frozen=True, slots=True)
class LogShare:
    """Log memory used by the entries of one shard, and the share it may use while one of its replicas is absent.

    `full_seconds`: time until the share is full at the current growth; None while it does not grow.
    """

    kept_bytes: int
    share_bytes: int
    full_seconds: float | None = None

    def is_used_up(self, shares: float = 1.0) -> bool:
        """Whether the entries use at least `shares` times the share."""
        return self.kept_bytes >= shares * self.share_bytes


class LogWatch:
    """Reads the log in a background thread, from `start` to `close`. No method except `read_now` blocks.

    The last reading stays valid while the log does not answer, since nothing is trimmed then. `keep_share`: the part of
    the log's memory that all shards together may use for absent replicas.
    """

    def __init__(
        self,
        read: ReadLog,
        *,
        keep_share: float,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._keep_share = keep_share
        self._clock = clock
        # Each is replaced as a whole, so that readers in other threads need no lock.
        self._log_id = ""
        self._partitions: Mapping[int, Sequence[int]] = {}  # by shard id
        self._reading: LogReading | None = None
        self._samples: tuple[tuple[float, Mapping[int, int]], ...] = ()  # instant, bytes by shard id
        self._outage = OutageLog(
            logger,
            failed="the event log cannot be read, the last reading stays in use",
            recovered="the event log can be read again",
        )
        self._one_reader = threading.Lock()
        self._task = PeriodicTask("log-watch", self.read_now, interval_seconds=interval_seconds)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def watch(self, topology: Topology) -> None:
        """Sets the log id, and the partitions of each shard, for the following readings."""
        self._log_id = topology.log_id
        self._partitions = {shard.id: topology.get_partitions_of(shard.id) for shard in topology.shards}

    def read_now(self) -> None:
        """Reads at once instead of at the next interval; keeps the last reading if the log does not answer."""
        with self._one_reader:
            by_shard = self._partitions
            partitions = sorted(p for some in by_shard.values() for p in some)
            if not partitions:
                return
            try:
                reading = self._read(self._log_id, partitions)
            except LogUnavailable as error:
                self._outage.report_failure(error)
                return
            self._outage.report_success()
            kept = {shard_id: sum(reading.kept_bytes.get(p, 0) for p in some) for shard_id, some in by_shard.items()}
            self._samples = (*self._samples, (self._clock(), kept))[-TREND_READINGS:]
            self._reading = reading

    def find_lacking(self, shard_id: int, positions: Mapping[int, str]) -> list[int]:
        """Partitions of the shard whose entries after `positions` (`term-seq`) the log no longer holds all, ascending.

        Empty while the log has never been read.
        """
        reading = self._reading
        if reading is None:
            return []
        owned = self._partitions.get(shard_id, ())
        return find_lacking(positions, {p: reading.floors[p] for p in owned if p in reading.floors})

    def get_share(self, shard_id: int) -> LogShare | None:
        """None before the first reading, for a log without memory limit, and for a shard without partitions."""
        reading, samples, by_shard = self._reading, self._samples, self._partitions
        if reading is None or reading.max_bytes is None or not samples or not by_shard.get(shard_id):
            return None
        holders = sum(bool(partitions) for partitions in by_shard.values())
        return compute_share(
            [(at, kept.get(shard_id, 0)) for at, kept in samples],
            share_bytes=int(reading.max_bytes * self._keep_share / holders),
        )


def find_lacking(positions: Mapping[int, str], floors: Mapping[int, LogPosition]) -> list[int]:
    """Pure. A partition without a position has applied nothing."""
    return sorted(p for p, floor in floors.items() if parse_position(positions.get(p, "0-0")) < floor)


def compute_share(samples: Sequence[tuple[float, int]], *, share_bytes: int) -> LogShare:
    """Pure. `samples`: at least one pair of an instant in seconds and the bytes kept then, newest last."""
    (first_at, first_bytes), (last_at, kept_bytes) = samples[0], samples[-1]
    growth = (kept_bytes - first_bytes) / (last_at - first_at) if last_at > first_at else 0.0
    full_seconds = max(0.0, (share_bytes - kept_bytes) / growth) if growth > 0 else None
    return LogShare(kept_bytes, share_bytes, full_seconds)


def parse_position(text: str) -> LogPosition:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)

"""What the event log still holds, and how much of its memory is taken by entries that it keeps for absent replicas.

A replica may be promoted only while the log holds everything that it has not applied. So the log is kept for one that
is away, but only up to a share of its memory: a full log would stop all ingest. The log itself is somebody else's;
whoever starts a config service hands in how it is read.
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
"""Milliseconds and sequence; written `ms-seq`."""

INTERVAL_SECONDS = 5.0
TREND_READINGS = 12
"""Over so many readings the growth is taken."""
STOP_SECONDS = 2.0

READ_POSITIONS = "SELECT partition, position FROM partition_state"
"""Of an instance: what it has applied."""


@dataclass(frozen=True, slots=True)
class LogReading:
    """By partition, below which position the log cannot be read any more, and the bytes of its entries.

    `max_bytes`: the bound of the log's memory; None without one.
    """

    floors: Mapping[int, LogPosition]
    kept_bytes: Mapping[int, int]
    max_bytes: int | None


ReadLog = Callable[[str, Sequence[int]], LogReading]
"""Of the log with this id (empty: any) and these partitions. Raises LogUnavailable within a bounded time."""


@dataclass(frozen=True, slots=True)
class LogShare:
    """What the entries of one shard take of the log, and what they may take while a replica of it is away.

    `full_seconds`: until then, should it grow as it did lately; None while it does not grow.
    """

    kept_bytes: int
    share_bytes: int
    full_seconds: float | None = None

    def is_used_up(self, shares: float = 1.0) -> bool:
        """Whether they take so many times what they may."""
        return self.kept_bytes >= shares * self.share_bytes


class LogWatch:
    """Reads the log from `start` to `close`, in a thread of its own; but for `read_now`, no call waits.

    What was read last stays true while the log is away: nothing is trimmed then. `keep_share` is the part of the log's
    memory that may be kept for absent replicas, of all shards together.
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
            failed="the event log cannot be read, what it held when last read still counts",
            recovered="the event log can be read again",
        )
        self._one_reader = threading.Lock()
        self._task = PeriodicTask("log-watch", self.read_now, interval_seconds=interval_seconds)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def watch(self, topology: Topology) -> None:
        """From here on, the cluster's log and the partitions of these shards."""
        self._log_id = topology.log_id
        self._partitions = {shard.id: topology.get_partitions_of(shard.id) for shard in topology.shards}

    def read_now(self) -> None:
        """Instead of at the next turn; what was read before stays if the log does not answer."""
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
        """Partitions of the shard of which the log no longer holds what follows `positions` (`ms-seq`), ascending.

        Empty while the log has never been read.
        """
        reading = self._reading
        if reading is None:
            return []
        owned = self._partitions.get(shard_id, ())
        return find_lacking(positions, {p: reading.floors[p] for p in owned if p in reading.floors})

    def get_share(self, shard_id: int) -> LogShare | None:
        """None while nothing is known of it, for a log without a bound, and for a shard without partitions."""
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
    """Pure. `samples`: instants in seconds with the bytes kept then, the newest last; one at least."""
    (first_at, first_bytes), (last_at, kept_bytes) = samples[0], samples[-1]
    growth = (kept_bytes - first_bytes) / (last_at - first_at) if last_at > first_at else 0.0
    full_seconds = max(0.0, (share_bytes - kept_bytes) / growth) if growth > 0 else None
    return LogShare(kept_bytes, share_bytes, full_seconds)


def parse_position(text: str) -> LogPosition:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)

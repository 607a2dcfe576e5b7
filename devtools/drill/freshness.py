"""Age of events that are acknowledged but not counted yet, by partition: read from log and primaries, independently of
the service.

An end of the log that was seen is acknowledged. Until the position of its partition has reached it, it is as old as the
time since it was first seen; polling makes ages up to POLL_SECONDS too short.
"""

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any, Self

from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import LOG_SERVER
from viewcounter.eventlog.interface import Position

POLL_SECONDS = 0.05
STOP_SECONDS = 5.0
ENDS_MAX = 10_000
"""Ends of one partition that are remembered: of eight minutes in which it is not counted."""
_READ_POSITIONS = "SELECT partition, position FROM partition_state WHERE state = 'owned' AND NOT pg_is_in_recovery()"


@dataclass(frozen=True, slots=True)
class FreshnessSample:
    """Ages in seconds by partition of one shard; 0 if everything acknowledged is counted."""

    at: float
    shard: str
    ages: dict[int, float]


class LogEnds:
    """Ends of the log by partition that no position has reached, oldest first. Not thread-safe."""

    def __init__(self) -> None:
        self._unreached: dict[int, deque[tuple[float, Position]]] = {}

    def add(self, partition: int, end: Position, now: float) -> None:
        ends = self._unreached.setdefault(partition, deque(maxlen=ENDS_MAX))
        if not ends or end > ends[-1][1]:
            ends.append((now, end))

    def compute_age(self, partition: int, position: Position, now: float) -> float:
        """Forgets the ends that the position has reached."""
        ends = self._unreached.get(partition, deque())
        while ends and ends[0][1] <= position:
            ends.popleft()
        return max(0.0, now - ends[0][0]) if ends else 0.0


def find_worst_age(samples: Iterable[FreshnessSample], *, without: Collection[int] = ()) -> float | None:
    """None without samples."""
    ages = [age for sample in samples for partition, age in sample.ages.items() if partition not in without]
    return max(ages, default=None)


def find_median_age(samples: Iterable[FreshnessSample]) -> float | None:
    """Median over time of the oldest partition's age; None without samples."""
    oldest = [max(sample.ages.values(), default=0.0) for sample in samples]
    return median(oldest) if oldest else None


class FreshnessWatch:
    """Polls log and primaries, in one thread each, while the context lasts. Bounded by the length of the drill."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch_log, daemon=True),
            *(
                threading.Thread(target=self._watch_instance, args=(shard, server), daemon=True)
                for shard, servers in cluster.layout.shards.items()
                for server in servers
            ),
        ]
        self._lock = threading.Lock()  # guards what follows
        self._ends = LogEnds()
        self._samples: list[FreshnessSample] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)  # a thread may hang on a frozen server

    def read(self, shards: Collection[str], *, since: float, until: float) -> list[FreshnessSample]:
        """Samples of these shards between two instants of the monotonic clock."""
        with self._lock:
            return [sample for sample in self._samples if sample.shard in shards and since <= sample.at <= until]

    def _watch_log(self) -> None:
        keys = {partition: f"log:{{{partition}}}" for partition in range(self._cluster.spec.partitions)}
        while not self._stopping.is_set():
            try:
                with self._cluster.valkey(LOG_SERVER).session() as log:
                    while not self._stopping.wait(POLL_SECONDS):
                        pipe = log.pipeline(transaction=False)
                        for key in keys.values():
                            pipe.xrevrange(key, count=1)
                        last: list[Any] = pipe.execute()
                        self._add_ends(dict(zip(keys, last, strict=True)))
            except NotReady:
                self._stopping.wait(POLL_SECONDS)

    def _add_ends(self, last: dict[int, list[tuple[bytes, Any]]]) -> None:
        now = time.monotonic()
        with self._lock:
            for partition, entries in last.items():
                for entry_id, _ in entries:
                    self._ends.add(partition, Position.parse(entry_id.decode()), now)

    def _watch_instance(self, shard: str, server: PostgresServer) -> None:
        while not self._stopping.is_set():
            try:
                with server.session() as connection:
                    while not self._stopping.wait(POLL_SECONDS):
                        now = time.monotonic()  # before the look, which may take long
                        self._add_sample(shard, connection.execute(_READ_POSITIONS).fetchall(), now)
            except NotReady:
                self._stopping.wait(POLL_SECONDS)

    def _add_sample(self, shard: str, rows: list[tuple[int, str]], now: float) -> None:
        if not rows:
            return  # a replica
        with self._lock:
            ages = {p: self._ends.compute_age(p, Position.parse(position), now) for p, position in rows}
            self._samples.append(FreshnessSample(now, shard, ages))

"""Times of writes of each shard: reads the positions of every instance, independently of the service."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer

POLL_SECONDS = 0.02
STOP_SECONDS = 5.0
_READ_POSITIONS = "SELECT partition, position FROM partition_state WHERE NOT pg_is_in_recovery()"


@dataclass(frozen=True, slots=True)
class Write:
    """A position has advanced, seen at `at` on a connection to a primary that was opened at `connected_at`."""

    at: float
    instance: str
    connected_at: float


class WriteWatch:
    """Polls the positions of all instances of these shards. Bounded: at most one entry for each poll and shard."""

    def __init__(self, cluster: LocalCluster, *shards: str, poll_seconds: float = POLL_SECONDS) -> None:
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(shard, server), daemon=True)
            for shard in shards
            for server in cluster.layout.shards[shard]
        ]
        self._lock = threading.Lock()  # guards what follows
        self._newest: dict[int, tuple[int, ...]] = {}
        self._writes: dict[str, list[Write]] = {shard: [] for shard in shards}

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

    def find_write_after(self, shard: str, *, struck_at: float, victim: str) -> float | None:
        """Time of the first write on another instance, or on the victim after its return."""
        with self._lock:
            return next(
                (
                    write.at
                    for write in self._writes[shard]
                    if write.at > struck_at and (write.instance != victim or write.connected_at > struck_at)
                ),
                None,
            )

    def _watch(self, shard: str, server: PostgresServer) -> None:
        while not self._stopping.is_set():
            try:
                with server.session() as connection:
                    connected_at = time.monotonic()
                    while not self._stopping.wait(self._poll_seconds):
                        rows = connection.execute(_READ_POSITIONS).fetchall()
                        self._note(shard, Write(time.monotonic(), server.name, connected_at), rows)
            except NotReady:
                self._stopping.wait(self._poll_seconds)

    def _note(self, shard: str, write: Write, rows: list[tuple[int, str]]) -> None:
        positions = {partition: tuple(map(int, text.split("-"))) for partition, text in rows}
        with self._lock:
            if any(position > self._newest.get(p, (0, 0)) for p, position in positions.items()):
                self._writes[shard].append(write)
            for p, position in positions.items():
                self._newest[p] = max(self._newest.get(p, (0, 0)), position)

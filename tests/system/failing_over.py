"""Watching a shard while its primary is hurt: who is primary by the topology, and when it is written again."""

import threading
import time
from types import TracebackType
from typing import Any, Self

import psycopg
import urllib3

from localcluster import LocalCluster
from localcluster.waiting import Waiter
from viewcounter.cluster import get_cluster

CHANGE_SECONDS = 60.0
POLL_SECONDS = 0.01


def wait_until(condition: Any, *, what: str, within_seconds: float = CHANGE_SECONDS) -> None:
    Waiter().wait_until(lambda: None if condition() else "not yet", what=what, within_seconds=within_seconds)


def get_shard(name: str) -> Any:
    get_cluster().refresh_topology()
    return next(shard for shard in get_cluster().topology.shards if shard.name == name)


def get_primary(name: str) -> str:
    primary = get_shard(name).primary
    return "" if primary is None else primary.name


def read_roles(name: str) -> dict[str, str]:
    return {instance.name: instance.role.value for instance in get_shard(name).instances}


def await_whole(name: str) -> None:
    """One primary and nothing but replicas beside it."""
    wait_until(
        lambda: sorted(read_roles(name).values()) == ["primary", *["replica"] * (len(read_roles(name)) - 1)],
        what=f"{name} whole again",
    )


class WriteWatch:
    """How long a shard goes unwritten: asks every instance for its positions, as no process of the service does.

    `seconds_without_writes` is the longest time in which no position moved to where none had been, on any primary.
    """

    def __init__(self, cluster: LocalCluster, shard: str) -> None:
        self._servers = cluster.layout.shards[shard]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(server,)) for server in self._servers]
        self._lock = threading.Lock()  # guards what follows
        self._last_at = time.monotonic()
        self._newest: dict[int, tuple[int, int]] = {}
        self.seconds_without_writes = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def restart(self) -> None:
        with self._lock:
            self._last_at = time.monotonic()
            self.seconds_without_writes = 0.0

    def _watch(self, server: Any) -> None:
        while not self._stopping.is_set():
            try:
                with server.connect() as connection:
                    while not self._stopping.wait(POLL_SECONDS):
                        rows = connection.execute(
                            "SELECT partition, position FROM partition_state WHERE NOT pg_is_in_recovery()"
                        ).fetchall()
                        self._note(rows)
            except psycopg.Error:
                self._stopping.wait(POLL_SECONDS)

    def _note(self, rows: list[tuple[int, str]]) -> None:
        now = time.monotonic()
        positions = {partition: tuple(map(int, text.split("-"))) for partition, text in rows}
        with self._lock:
            if any(position > self._newest.get(p, (0, 0)) for p, position in positions.items()):
                self.seconds_without_writes = max(self.seconds_without_writes, now - self._last_at)
                self._last_at = now
            for p, position in positions.items():
                self._newest[p] = max(self._newest.get(p, (0, 0)), position)


class ReadLoad:
    """Reads over HTTP all the time, counting what fails."""

    def __init__(self, url: str, key: str, *, videos: list[str]) -> None:
        self._url = url
        self._key = key
        self._videos = videos
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failed: list[str] = []
        self.answered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=10))
        number = 0
        while not self._stopping.wait(0.02):
            number += 1
            video = self._videos[number % len(self._videos)]
            try:
                answer = pool.request(
                    "GET", f"{self._url}/v1/videos/{video}/counts", headers={"Authorization": f"Bearer {self._key}"}
                )
            except urllib3.exceptions.HTTPError as error:
                self.failed.append(type(error).__name__)
            else:
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.failed.append(f"{answer.status}: {answer.data[:200]!r}")

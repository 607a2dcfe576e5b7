"""Speed of drains alone: a log full of events, two worker processes, primaries with streaming replicas.

Worker processes run the same Drainer as Celery's pool processes and take one partition after the other, like tasks from
a queue, but without Celery. The floor sends the statements of the same flushes over one connection at a time, with all
parameters prepared.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from devtools.bench.errors import BadBenchOption, BenchStepFailed
from devtools.bench.part import OnProgress
from devtools.bench.shard_tables import check_committed, empty_shards
from devtools.bench.step_process import run_step, spawn_step
from devtools.bench.usage import divide_by_million, list_servers, read_cpu_seconds
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import MAX_REPLICAS_PER_SHARD, MAX_SHARDS

MAX_PARTITIONS = 2**15 - 1
"""The number of a partition is a smallint."""


@dataclass(frozen=True, slots=True)
class DrainBenchOptions:
    event_count: int
    workers: int
    shards: int
    replicas_per_shard: int
    partitions: int
    with_floor: bool

    @property
    def spec(self) -> ClusterSpec:
        return ClusterSpec(shards=self.shards, replicas_per_shard=self.replicas_per_shard, partitions=self.partitions)

    def check(self) -> None:
        """Raises BadBenchOption, naming the option."""
        limits = {
            "--events": (self.event_count, 1, None),
            "--workers": (self.workers, 1, None),
            "--shards": (self.shards, 1, MAX_SHARDS),
            "--replicas": (self.replicas_per_shard, 0, MAX_REPLICAS_PER_SHARD),
            "--partitions": (self.partitions, 1, MAX_PARTITIONS),
        }
        for name, (number, least, most) in limits.items():
            if number < least or (most is not None and number > most):
                raise BadBenchOption(
                    f"{name}: must be {least} or more" if most is None else f"{name}: {least} to {most}"
                )
        if self.shards > self.partitions:
            raise BadBenchOption(f"--shards: {self.partitions} partitions are too few for {self.shards} shards")


@dataclass(slots=True)
class DrainBenchReport:
    """Rates are events a second to committed.

    CPU is seconds for a million events, by component; the floor's client takes the place of the workers.
    `committed`: events on the shards afterwards, by table; equals `event_count`, or there is no report.
    """

    event_count: int
    committed: dict[str, int]
    flush_count: int
    seconds: float
    events_per_second: float
    cpu_seconds_per_million: dict[str, float]
    worker_peak_rss_bytes: list[int]
    floor_events_per_second: float | None = None
    ratio_to_floor: float | None = None
    floor_cpu_seconds_per_million: dict[str, float] = field(default_factory=dict)


def fill_and_drain(cluster: LocalCluster, options: DrainBenchOptions, on_progress: OnProgress) -> DrainBenchReport:
    """On running, prepared, empty servers. Raises BenchError."""
    fill_log(cluster, options.event_count, on_progress)
    return drain_log(cluster, options, on_progress)


def fill_log(cluster: LocalCluster, event_count: int, on_progress: OnProgress) -> None:
    for said in run_step(cluster, "fill", "--events", str(event_count)):
        on_progress("filling the log", said["appended"], event_count)


def drain_log(cluster: LocalCluster, options: DrainBenchOptions, on_progress: OnProgress) -> DrainBenchReport:
    """Drain a log of `event_count` events into empty shards. Raises BenchError."""
    partitions: SimpleQueue[int] = SimpleQueue()
    for partition in range(options.partitions):
        partitions.put(partition)
    workers = [_Worker(cluster, partitions) for _ in range(options.workers)]
    try:
        for worker in workers:
            worker.wait_ready()
        roots = list_servers(cluster)
        before, started_at = read_cpu_seconds(roots), time.monotonic()
        for worker in workers:
            worker.start()
        while any(worker.is_busy for worker in workers):
            on_progress("draining", sum(worker.counted for worker in workers), options.event_count)
            time.sleep(0.1)
        on_progress("draining", sum(worker.counted for worker in workers), options.event_count)
        seconds = max(worker.ended_at for worker in workers) - started_at
        after = read_cpu_seconds(roots)
        ends = [worker.finish() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    counted = sum(worker.counted for worker in workers)
    cpu = {name: after[name] - before[name] for name in roots} | {"workers": sum(end["cpu_seconds"] for end in ends)}
    return DrainBenchReport(
        event_count=counted,
        committed=check_committed(cluster, options.event_count),
        flush_count=sum(worker.flushes for worker in workers),
        seconds=seconds,
        events_per_second=counted / seconds,
        cpu_seconds_per_million=divide_by_million(cpu, counted),
        worker_peak_rss_bytes=[end["peak_rss_bytes"] for end in ends],
    )


def measure_floor(
    cluster: LocalCluster, report: DrainBenchReport, options: DrainBenchOptions, on_progress: OnProgress
) -> None:
    """Empty the shards, flush the log of a drain by bare statements, and complete its report. Raises BenchError."""
    roots = list_servers(cluster)
    empty_shards(cluster)
    before = read_cpu_seconds(roots)
    said: dict[str, Any] = {}
    for said in run_step(cluster, "floor"):
        on_progress("measuring the floor", said.get("done", options.event_count), options.event_count)
    after = read_cpu_seconds(roots)
    check_committed(cluster, options.event_count)
    report.floor_events_per_second = said["event_count"] / said["seconds"]
    report.ratio_to_floor = report.events_per_second / report.floor_events_per_second
    cpu = {name: after[name] - before[name] for name in roots if name != "log"} | {"workers": said["cpu_seconds"]}
    report.floor_cpu_seconds_per_million = divide_by_million(cpu, report.event_count)


class _Worker:
    """One drain process and the thread that feeds it the next partition."""

    def __init__(self, cluster: LocalCluster, partitions: "SimpleQueue[int]") -> None:
        self._process = spawn_step(cluster, "drain")
        self._partitions = partitions
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self.counted = 0
        self.flushes = 0
        self.ended_at = 0.0

    def wait_ready(self) -> None:
        self._hear()

    def start(self) -> None:
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self._thread.is_alive()

    def finish(self) -> dict[str, Any]:
        if not self.ended_at:
            raise BenchStepFailed("a drain process ended early")
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        return self._hear()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _feed(self) -> None:
        stdin = self._process.stdin
        if stdin is None:
            return
        while True:
            try:
                partition = self._partitions.get_nowait()
            except Empty:
                break
            stdin.write(f"{partition}\n")
            stdin.flush()
            said = self._hear()
            self.counted += said["counted"]
            self.flushes += said["flushes"]
        self.ended_at = time.monotonic()

    def _hear(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BenchStepFailed("a drain process ended early")
        said: dict[str, Any] = json.loads(line)
        return said

"""How fast drains alone are: a log full of events, two worker processes, primaries with streaming replicas.

Worker processes are plain ones that run the same Drainer as Celery's pool processes and take the next partition when
they are done with one, as tasks from a queue would; Celery's own part is left out. The floor sends the statements of
the same flushes over one connection at a time, with all parameters made beforehand.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from localcluster import ClusterSpec, LocalCluster, run_temporary_cluster
from localcluster.spec import MAX_REPLICAS_PER_SHARD, MAX_SHARDS
from viewcounter.config import PROJECT_ROOT
from viewcounter.operations.bench.errors import BadOption, BenchStepFailed, WrongCount
from viewcounter.operations.bench.usage import read_cpu_seconds

MAX_PARTITIONS = 2**15 - 1
"""A smallint in every row."""

OnProgress = Callable[[str, int, int], None]
"""Name of the part, events done, events in all."""


@dataclass(frozen=True, slots=True)
class DrainBenchOptions:
    event_count: int
    workers: int
    shards: int
    replicas_per_shard: int
    partitions: int
    with_floor: bool

    def check(self) -> None:
        """Raises BadOption, naming the option."""
        limits = {
            "--events": (self.event_count, 1, None),
            "--workers": (self.workers, 1, None),
            "--shards": (self.shards, 1, MAX_SHARDS),
            "--replicas": (self.replicas_per_shard, 0, MAX_REPLICAS_PER_SHARD),
            "--partitions": (self.partitions, 1, MAX_PARTITIONS),
        }
        for name, (number, least, most) in limits.items():
            if number < least or (most is not None and number > most):
                raise BadOption(f"{name}: must be {least} or more" if most is None else f"{name}: {least} to {most}")
        if self.shards > self.partitions:
            raise BadOption(f"--shards: {self.partitions} partitions are too few for {self.shards} shards")


@dataclass(slots=True)
class DrainBenchReport:
    """Rates are events a second to committed.

    CPU is seconds for a million events, by component; the floor's one client stands where the workers do.
    `committed` is what the shards hold afterwards, by table: each is `event_count`, or there is no report.
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


def run_drain_bench(options: DrainBenchOptions, *, on_progress: OnProgress) -> DrainBenchReport:
    """Raises BenchError, LocalClusterError."""
    options.check()
    spec = ClusterSpec(
        shards=options.shards, replicas_per_shard=options.replicas_per_shard, partitions=options.partitions
    )
    with run_temporary_cluster(spec=spec) as cluster:
        cluster.start_servers()
        cluster.prepare()
        report = fill_and_drain(cluster, options, on_progress)
        if options.with_floor:
            _measure_floor(cluster, report, options, on_progress)
        return report


def fill_and_drain(cluster: LocalCluster, options: DrainBenchOptions, on_progress: OnProgress) -> DrainBenchReport:
    """On running, prepared servers."""
    for said in run_step(cluster, "fill", "--events", str(options.event_count)):
        on_progress("filling the log", said["appended"], options.event_count)
    return _drain(cluster, options, on_progress)


def _drain(cluster: LocalCluster, options: DrainBenchOptions, on_progress: OnProgress) -> DrainBenchReport:
    partitions: SimpleQueue[int] = SimpleQueue()
    for partition in range(options.partitions):
        partitions.put(partition)
    workers = [_Worker(cluster, partitions) for _ in range(options.workers)]
    try:
        for worker in workers:
            worker.wait_ready()
        roots = _name_components(cluster)
        before, started_at = read_cpu_seconds(roots), time.monotonic()
        for worker in workers:
            worker.start()
        while any(worker.is_busy for worker in workers):
            on_progress("draining", sum(worker.counted for worker in workers), options.event_count)
            time.sleep(0.1)
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
        committed=_check_committed(cluster, options.event_count),
        flush_count=sum(worker.flushes for worker in workers),
        seconds=seconds,
        events_per_second=counted / seconds,
        cpu_seconds_per_million=_per_million(cpu, counted),
        worker_peak_rss_bytes=[end["peak_rss_bytes"] for end in ends],
    )


def _measure_floor(
    cluster: LocalCluster, report: DrainBenchReport, options: DrainBenchOptions, on_progress: OnProgress
) -> None:
    for _ in run_step(cluster, "reset"):
        pass
    roots = _name_components(cluster)
    before = read_cpu_seconds(roots)
    said: dict[str, Any] = {}
    for said in run_step(cluster, "floor"):
        on_progress("measuring the floor", said.get("done", options.event_count), options.event_count)
    after = read_cpu_seconds(roots)
    _check_committed(cluster, options.event_count)
    report.floor_events_per_second = said["event_count"] / said["seconds"]
    report.ratio_to_floor = report.events_per_second / report.floor_events_per_second
    cpu = {name: after[name] - before[name] for name in roots if name != "log"} | {"workers": said["cpu_seconds"]}
    report.floor_cpu_seconds_per_million = _per_million(cpu, report.event_count)


def _check_committed(cluster: LocalCluster, event_count: int) -> dict[str, int]:
    """What the shards hold of each kind. Raises WrongCount unless that is every event, once."""
    [committed] = run_step(cluster, "count")
    if set(committed.values()) != {event_count}:
        raise WrongCount(f"of {event_count} events the shards hold: {committed}")
    return committed


def _name_components(cluster: LocalCluster) -> dict[str, list[int]]:
    databases = list(cluster.layout.shards.values())
    return {
        "primaries": [instances[0].pid for instances in databases],
        "replicas": [replica.pid for instances in databases for replica in instances[1:]],
        "log": [cluster.valkey("log").pid],
        "broker and cache": [cluster.valkey("broker").pid],
    }


def _per_million(cpu: dict[str, float], event_count: int) -> dict[str, float]:
    return {name: round(seconds * 1_000_000 / event_count, 2) for name, seconds in cpu.items()}


class _Worker:
    """One drain process and the thread that feeds it the next partition."""

    def __init__(self, cluster: LocalCluster, partitions: "SimpleQueue[int]") -> None:
        self._process = _spawn_step(cluster, "drain")
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


def run_step(cluster: LocalCluster, *arguments: str) -> Iterator[dict[str, Any]]:
    """What `bench_step` says, line by line."""
    process = _spawn_step(cluster, *arguments)
    try:
        for line in process.stdout or ():
            yield json.loads(line)
        if process.wait() != 0:
            raise BenchStepFailed(f"{' '.join(arguments)} ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _spawn_step(cluster: LocalCluster, *arguments: str) -> "subprocess.Popen[str]":
    """With the settings of our own environment, such as a larger flush to compare; the cluster's own come first."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "bench_step", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, **cluster.environment, "DJANGO_SETTINGS_MODULE": "viewcounter.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

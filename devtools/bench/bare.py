"""Bare psycopg on the servers of the pipeline: the least that it costs to count such events into these shards.

One connection a shard, each in a process of its own, commits 1,000 events at once by COPY and one upsert (peer_floor).
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from devtools.bench.errors import BenchStepFailed
from devtools.bench.peer_site import peer_database
from devtools.bench.step_process import spawn_step
from devtools.bench.usage import divide_by_million, list_primaries, list_servers, read_cpu_seconds
from devtools.localcluster import LocalCluster


@dataclass(frozen=True, slots=True)
class BareRun:
    """CPU is seconds a million events, by component."""

    events_per_second: float
    event_count: int
    cpu_seconds_per_million: dict[str, float]


def measure_bare(cluster: LocalCluster, *, seconds: float) -> BareRun:
    """While no application runs; the tables are in a database of their own, which is dropped. Raises BenchError."""
    servers = list_servers(cluster)
    roots = {name: servers[name] for name in ("primaries", "replicas")}
    with ExitStack() as stack:
        for primary in list_primaries(cluster):
            stack.enter_context(peer_database(primary))
        writers = [stack.enter_context(_Writer(cluster, shard, seconds)) for shard in cluster.layout.shards]
        for writer in writers:
            writer.read()  # it is connected
        before = read_cpu_seconds(roots)
        for writer in writers:
            writer.begin()
        said = [writer.read() for writer in writers]
        after = read_cpu_seconds(roots)
    event_count = sum(each["event_count"] for each in said)
    cpu = {name: after[name] - before[name] for name in roots}
    cpu["client"] = sum(each["cpu_seconds"] for each in said)
    return BareRun(
        events_per_second=sum(each["event_count"] / each["seconds"] for each in said),
        event_count=event_count,
        cpu_seconds_per_million=divide_by_million(cpu, event_count),
    )


class _Writer:
    """The process of one connection; killed at the end of the context."""

    def __init__(self, cluster: LocalCluster, shard: str, seconds: float) -> None:
        self._process = spawn_step(cluster, "bare", "--shard", shard, "--seconds", str(seconds))

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write("begin\n")
            self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BenchStepFailed("a process of bare psycopg ended early")
        said: dict[str, Any] = json.loads(line)
        return said

"""One measurement of one system: its speed, its cost, and how often it counted each event."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString

from devtools.bench.errors import BenchMiscount
from devtools.bench.event_stream import EventStream, build_posts
from devtools.bench.http_load import Load, run_closed
from devtools.bench.peer_floor import Floor
from devtools.bench.peer_olap import run_olap
from devtools.bench.usage import divide_by_million, list_primaries, read_cpu_seconds
from devtools.localcluster import LocalCluster

Roots = Mapping[str, list[int]]
"""Process ids of parts, by name."""
COMMIT_SECONDS = 300.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class PeerTarget:
    """The address for posts, and the `status` that accepts them. `batch_size` None: one request for each event."""

    address: tuple[str, int]
    path: str
    status: int
    batch_size: int | None
    connections: int
    roots: Roots
    token: str | None = None


@dataclass(frozen=True, slots=True)
class PeerRun:
    """Rates are events a second while posts were sent, and from the first post to the last commit. Latencies are of
    requests. `counted`: increase of all counters. CPU is seconds for a million events, by part; `load_cpu_share`: share
    of a core that the load generator used."""

    sent_count: int
    repeated_count: int
    counted: int
    acknowledged_per_second: float
    committed_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_seconds_per_million: dict[str, float]
    load_cpu_share: float = 0.0

    @property
    def counted_twice(self) -> int:
        return self.counted - (self.sent_count - self.repeated_count)

    @property
    def total_cpu_seconds_per_million(self) -> float:
        return sum(self.cpu_seconds_per_million.values())


class ServiceCounts:
    """Reads the counts of the service's shards; its connections stay open."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._connections = [primary.connect() for primary in list_primaries(cluster)]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def count(self) -> int:
        return self._sum("SELECT coalesce(sum(count), 0)::bigint FROM event_total")

    def count_received(self) -> int:
        """Number of events in flushes, counted or not."""
        return self._sum("SELECT coalesce(sum(received), 0)::bigint FROM ledger")

    def _sum(self, query: LiteralString) -> int:
        rows = (connection.execute(query).fetchone() for connection in self._connections)
        return sum(int(row[0]) for row in rows if row is not None)


def measure_posts(
    target: PeerTarget,
    stream: EventStream,
    *,
    seconds: float,
    warm_seconds: float,
    count: Callable[[], int],
    count_received: Callable[[], int] | None = None,
    most_requests: int | None = None,
) -> PeerRun:
    """Requests of the warm-up are not in rates and times. `count` returns the sum of the counters, `count_received` the
    number of processed events; None if all acknowledged events are processed. Raises BenchError.
    """
    host = f"{target.address[0]}:{target.address[1]}"
    requests = build_posts(stream, host=host, path=target.path, batch_size=target.batch_size, token=target.token)
    counted_before = count()
    received_before = 0 if count_received is None else count_received()
    before, started_at = read_cpu_seconds(target.roots), time.perf_counter()
    load = run_closed(
        target.address,
        itertools.islice(requests, most_requests),
        connections=target.connections,
        warm_seconds=warm_seconds,
        seconds=seconds,
        status=target.status,
    )
    sent_count = load.answered_count * (target.batch_size or 1)
    acknowledged = committed = load.per_second * (target.batch_size or 1)
    if count_received is not None:
        _wait_for(count_received, received_before + sent_count)
        committed = sent_count / (time.perf_counter() - started_at)
    after = read_cpu_seconds(target.roots)
    return PeerRun(
        sent_count=sent_count,
        repeated_count=stream.count_repeats(sent_count),
        counted=count() - counted_before,
        acknowledged_per_second=acknowledged,
        committed_per_second=committed,
        p50_ms=load.get_percentile_ms(50),
        p99_ms=load.get_percentile_ms(99),
        cpu_seconds_per_million=divide_by_million({n: after[n] - before[n] for n in target.roots}, sent_count),
        load_cpu_share=load.generator_share,
    )


def measure_floor(floor: Floor, stream: EventStream, *, seconds: float, batch_size: int, roots: Roots) -> PeerRun:
    """Runs on the core of the caller."""
    counted_before, before = floor.count(), read_cpu_seconds(roots)
    floor.start_over()
    sent_count = 0
    while floor.seconds < seconds:
        floor.store(stream, batch_size=batch_size)
        sent_count += batch_size
    after = read_cpu_seconds(roots)
    cpu = {name: after[name] - before[name] for name in roots} | {"client": floor.cpu_seconds}
    return _describe_straight(
        Load(floor.seconds, floor.latencies, len(floor.latencies)),
        cpu,
        sent_count=sent_count,
        repeated_count=stream.count_repeats(sent_count),
        counted=floor.count() - counted_before,
    )


def measure_olap(stream: EventStream, *, seconds: float, batch_size: int) -> PeerRun:
    """Requires that chdb is installed."""
    with TemporaryDirectory(prefix="viewcounter-olap-") as folder:
        run = run_olap(Path(folder, "data"), stream=stream, seconds=seconds, batch_size=batch_size)
    sent_count = len(run.latencies) * batch_size
    return _describe_straight(
        Load(run.seconds, run.latencies),
        {"client": run.cpu_seconds},
        sent_count=sent_count,
        repeated_count=stream.count_repeats(sent_count),
        counted=run.counted,
    )


def _describe_straight(
    load: Load, cpu: Mapping[str, float], *, sent_count: int, repeated_count: int, counted: int
) -> PeerRun:
    """The run of one client without HTTP, for which acknowledged and committed are the same."""
    per_second = sent_count / load.seconds
    return PeerRun(
        sent_count=sent_count,
        repeated_count=repeated_count,
        counted=counted,
        acknowledged_per_second=per_second,
        committed_per_second=per_second,
        p50_ms=load.get_percentile_ms(50),
        p99_ms=load.get_percentile_ms(99),
        cpu_seconds_per_million=divide_by_million(cpu, sent_count),
    )


def _wait_for(count_received: Callable[[], int], wanted: int) -> None:
    deadline = time.monotonic() + COMMIT_SECONDS
    while (received := count_received()) < wanted:
        if time.monotonic() > deadline:
            raise BenchMiscount(f"{wanted - received} acknowledged events were not counted in {COMMIT_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)

"""Part `ingest`: from a post to its 202, one gateway worker alone on a core, load generator and log on the others.

Closed loops measure the capacity of the gateway, by size of batch and number of connections; open loops, at shares of
it, the latency of independent clients.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from devtools.bench.defaults import TITLES
from devtools.bench.errors import BadBenchOption, BenchMiscount
from devtools.bench.http_load import Load, run_closed, run_open
from devtools.bench.ingest_report import PostFigures, describe_ingest, find_capacity
from devtools.bench.part import BenchContext
from devtools.bench.pinning import pinned
from devtools.bench.posts import make_posts
from devtools.bench.report import PartReport
from devtools.bench.step_process import run_step
from devtools.bench.usage import divide_by_million, read_cpu_seconds
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import LOG_SERVER, WEB

ACCEPTED = 202
MAX_CONNECTIONS = 1024
REQUEST_MAX_EVENTS = 1000
"""The default of `VIEWCOUNTER_REQUEST_MAX_EVENTS`."""
OPEN_CONNECTIONS = 256
SHARES = (0.5, 0.8)
"""Rates of open loops, as shares of the capacity."""


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """`open_batches`: sizes that are measured by open loops too. `most_events`: maximum in flight on all connections;
    the gateway refuses more than `VIEWCOUNTER_COMMIT_BUFFER_MAX_EVENTS`, and waves as long as the measurement mean
    little. `template_events`: prepared beforehand for each size."""

    batches: tuple[int, ...]
    connections: tuple[int, ...]
    open_batches: tuple[int, ...]
    warm_seconds: float
    closed_seconds: float
    open_seconds: float
    most_events: int
    template_events: int

    def list_closed(self) -> list[tuple[int, int]]:
        """Batch and connections of each closed loop."""
        pairs = itertools.product(self.batches, self.connections)
        return [(size, count) for size, count in pairs if size * count <= self.most_events]

    def check(self) -> None:
        """Raises BadBenchOption, naming the option."""
        if not all(1 <= size <= REQUEST_MAX_EVENTS for size in self.batches):
            raise BadBenchOption(f"--batches: 1 to {REQUEST_MAX_EVENTS} events")
        if not all(1 <= count <= MAX_CONNECTIONS for count in self.connections):
            raise BadBenchOption(f"--connections: 1 to {MAX_CONNECTIONS}")
        if not 0 < self.closed_seconds <= LONGEST_SECONDS:
            raise BadBenchOption(f"--seconds: more than 0, at most {LONGEST_SECONDS:.0f}")
        if {size for size, _ in self.list_closed()} != set(self.batches):
            raise BadBenchOption(
                f"--connections: with any of them more than {self.most_events} events would be in flight"
            )


@dataclass(frozen=True, slots=True)
class IngestChoices:
    """Options that override the plan."""

    batches: tuple[int, ...] = ()
    connections: tuple[int, ...] = ()
    seconds: float | None = None

    def change(self, plan: IngestPlan) -> IngestPlan:
        """The chosen sizes are measured by open loops too."""
        changed = replace(plan, batches=self.batches, open_batches=self.batches) if self.batches else plan
        if self.connections:
            changed = replace(changed, connections=self.connections)
        if self.seconds is not None:
            changed = replace(changed, closed_seconds=self.seconds, open_seconds=self.seconds)
        return changed


FULL = IngestPlan(
    batches=(1, 10, 100, 1000),
    connections=(1, 16, 64, 256),
    open_batches=(1, 100),
    warm_seconds=1,
    closed_seconds=3,
    open_seconds=10,
    most_events=64_000,
    template_events=100_000,
)
LONGEST_SECONDS = 3600.0
QUICK = IngestPlan(
    batches=(1, 100, 1000),
    connections=(1, 16, 64),
    open_batches=(100,),
    warm_seconds=0.2,
    closed_seconds=0.6,
    open_seconds=1,
    most_events=16_000,
    template_events=20_000,
)


@dataclass(slots=True)
class _Bench:
    """Common state of all runs. `acknowledged`: events of every 202 so far."""

    address: tuple[str, int]
    roots: dict[str, list[int]]
    posts: dict[int, Iterator[bytes]]
    plan: IngestPlan
    acknowledged: int = 0
    figures: list[PostFigures] = field(default_factory=list)


class IngestPart:
    name = "ingest"
    title = TITLES[name]

    def __init__(self, spec: ClusterSpec, plan: IngestPlan) -> None:
        self._spec = spec
        self._plan = plan

    def run(self, context: BenchContext) -> PartReport:
        cluster = context.clusters.get(self._spec)
        plan = self._plan
        token = context.clusters.token
        web = cluster.application(WEB)
        web.start()
        try:
            web.wait_ready()
            with pinned(web.pid) as cores:
                bench = _prepare(cluster, plan, token)
                _measure(bench, context)
        finally:
            web.stop()
        _check_log(cluster, bench.acknowledged)
        return describe_ingest(self.name, self.title, bench.figures, acknowledged=bench.acknowledged, core=cores)


def _prepare(cluster: LocalCluster, plan: IngestPlan, token: str) -> _Bench:
    url = urlsplit(cluster.web_url)
    return _Bench(
        address=(str(url.hostname), int(url.port or 80)),
        roots={"gateway": [cluster.application(WEB).pid], "log": [cluster.valkey(LOG_SERVER).pid]},
        posts={
            size: make_posts(
                host=url.netloc,
                token=token,
                batch_events=size,
                seed=size,
                template_events=plan.template_events,
            )
            for size in plan.batches
        },
        plan=plan,
    )


def _measure(bench: _Bench, context: BenchContext) -> None:
    plan = bench.plan
    closed = plan.list_closed() * context.rounds
    opened = list(itertools.product(plan.open_batches, SHARES)) * context.rounds
    done, total = 0, len(closed) + len(opened)
    for size, connections in closed:
        context.on_progress("posting in closed and open loops", done, total)
        _run_closed(bench, size, connections)
        done += 1
    for size, share in opened:
        context.on_progress("posting in closed and open loops", done, total)
        _run_open(bench, size, share)
        done += 1
    context.on_progress("posting in closed and open loops", done, total)


def _run_closed(bench: _Bench, size: int, connections: int) -> None:
    before = read_cpu_seconds(bench.roots)
    load = run_closed(
        bench.address,
        bench.posts[size],
        connections=connections,
        warm_seconds=bench.plan.warm_seconds,
        seconds=bench.plan.closed_seconds,
        status=ACCEPTED,
    )
    _note(bench, load, before, size=size, connections=connections, share=None)


def _run_open(bench: _Bench, size: int, share: float) -> None:
    before = read_cpu_seconds(bench.roots)
    load = run_open(
        bench.address,
        bench.posts[size],
        connections=OPEN_CONNECTIONS,
        per_second=share * find_capacity(bench.figures, size) / size,
        seconds=bench.plan.open_seconds,
        status=ACCEPTED,
    )
    _note(bench, load, before, size=size, connections=OPEN_CONNECTIONS, share=share)


def _note(
    bench: _Bench, load: Load, before: dict[str, float], *, size: int, connections: int, share: float | None
) -> None:
    after = read_cpu_seconds(bench.roots)
    events = load.answered_count * size
    bench.acknowledged += events
    cpu = {name: after[name] - before[name] for name in bench.roots} | {"load generator": load.cpu_seconds}
    bench.figures.append(
        PostFigures(
            batch_events=size,
            connections=connections,
            share=share,
            events_per_second=round(load.per_second * size, 1),
            p50_ms=round(load.get_percentile_ms(50), 2),
            p99_ms=round(load.get_percentile_ms(99), 2),
            max_ms=round(load.get_percentile_ms(100), 2),
            cpu_seconds_per_million=divide_by_million(cpu, events),
            generator_share=round(load.generator_share, 3),
        )
    )


def _check_log(cluster: LocalCluster, acknowledged: int) -> None:
    """Raises BenchMiscount unless the log holds exactly what was acknowledged."""
    [said] = run_step(cluster, "log")
    if said["events"] != acknowledged:
        raise BenchMiscount(f"{acknowledged} events were acknowledged, the log holds {said['events']}")

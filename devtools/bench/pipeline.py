"""Part `pipeline`: from a post to queryable on every copy, with every process of the service on this machine.

A saturating load measures the capacity: acknowledged events divided by the time until the last of them was queryable.
Open loops at shares of it measure the freshness of answers and CPU seconds a million events. Then bare psycopg counts
events into the same servers, for a ratio that carries over to another machine.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from devtools.bench.bare import measure_bare
from devtools.bench.defaults import TITLES
from devtools.bench.errors import BenchMiscount
from devtools.bench.freshness import PositionWatch, Post, parse_posts
from devtools.bench.http_load import Load, run_closed, run_open
from devtools.bench.part import BenchContext
from devtools.bench.pipeline_report import Sustained, describe_pipeline
from devtools.bench.posts import make_posts
from devtools.bench.report import PartReport, Spread
from devtools.bench.shard_tables import check_committed
from devtools.bench.usage import divide_by_million, list_servers, read_cpu_seconds
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import BEAT, WEB, WORKER

ACCEPTED = 202
BATCH_EVENTS = 100
"""Size of a client's batch."""
CONNECTIONS = 16
OPEN_CONNECTIONS = 256
SHARES = (0.5, 0.8, 1.0)
VISIBLE_SECONDS = 180.0
"""Time limit after the load until all events are queryable; else there is no report."""


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    warm_seconds: float
    saturated_seconds: float
    sustained_seconds: float
    bare_seconds: float


FULL = PipelinePlan(warm_seconds=5, saturated_seconds=15, sustained_seconds=60, bare_seconds=8)
QUICK = PipelinePlan(warm_seconds=1, saturated_seconds=2, sustained_seconds=3, bare_seconds=1)


@dataclass(slots=True)
class _Bench:
    """`acknowledged`: events of every 202 so far, warming up included."""

    address: tuple[str, int]
    posts: Iterator[bytes]
    roots: dict[str, list[int]]
    watch: PositionWatch
    acknowledged: int = 0


class PipelinePart:
    name = "pipeline"
    title = TITLES[name]

    def __init__(self, spec: ClusterSpec) -> None:
        self._spec = spec

    def run(self, context: BenchContext) -> PartReport:
        cluster = context.clusters.get(self._spec)
        plan = QUICK if context.quick else FULL
        token = context.clusters.token
        try:
            cluster.start_applications()
            with PositionWatch(cluster) as watch:
                bench = _prepare(cluster, watch, token)
                capacities = _find_capacities(bench, plan, context)
                capacity = Spread.of(capacities)
                sustained = [_sustain(bench, plan, share, capacity.median, context) for share in SHARES]
        finally:
            cluster.stop_applications()
        check_committed(cluster, bench.acknowledged)
        context.on_progress("measuring bare psycopg", 0, 1)
        bare = measure_bare(cluster, seconds=plan.bare_seconds)
        context.on_progress("measuring bare psycopg", 1, 1)
        return describe_pipeline(
            self.name,
            self.title,
            capacities,
            sustained,
            bare=bare,
            acknowledged=bench.acknowledged,
            seconds=plan.sustained_seconds,
        )


def _prepare(cluster: LocalCluster, watch: PositionWatch, token: str) -> _Bench:
    url = urlsplit(cluster.web_url)
    members = cluster.layout.applications
    named = {"gateway": [WEB], "workers": [WORKER], "beat": [name for name in members if name.startswith(BEAT)]}
    others = [name for name in members if not name.startswith((WEB, WORKER, BEAT))]
    applications = {
        component: [cluster.application(name).pid for name in names]
        for component, names in {**named, "config services, shard proxy": others}.items()
    }
    return _Bench(
        address=(str(url.hostname), int(url.port or 80)),
        posts=make_posts(host=url.netloc, token=token, batch_events=BATCH_EVENTS, seed=1),
        roots=applications | list_servers(cluster),
        watch=watch,
    )


def _find_capacities(bench: _Bench, plan: PipelinePlan, context: BenchContext) -> list[float]:
    """Events a second to queryable, of each round; a warm-up goes before."""
    _saturate(bench, plan.warm_seconds)
    capacities = []
    for number in range(context.rounds):
        context.on_progress("finding the capacity of the pipeline", number, context.rounds)
        capacities.append(_saturate(bench, plan.saturated_seconds))
    context.on_progress("finding the capacity of the pipeline", context.rounds, context.rounds)
    return capacities


def _saturate(bench: _Bench, seconds: float) -> float:
    started_at = time.perf_counter()
    load = run_closed(
        bench.address,
        bench.posts,
        connections=CONNECTIONS,
        warm_seconds=0,
        seconds=seconds,
        status=ACCEPTED,
        keeps_answers=True,
    )
    posts, visible_at = _await_visible(bench, load)
    return sum(post.event_count for post in posts) / (max(visible_at) - started_at)


def _sustain(bench: _Bench, plan: PipelinePlan, share: float, capacity: float, context: BenchContext) -> Sustained:
    context.on_progress(f"sustaining {share:.0%} of it", 0, 1)
    before, started_at = read_cpu_seconds(bench.roots), time.perf_counter()
    load = run_open(
        bench.address,
        bench.posts,
        connections=OPEN_CONNECTIONS,
        per_second=share * capacity / BATCH_EVENTS,
        seconds=plan.sustained_seconds,
        status=ACCEPTED,
        keeps_answers=True,
    )
    ended_at = time.perf_counter()
    posts, visible_at = _await_visible(bench, load)
    after = read_cpu_seconds(bench.roots)
    cpu = {name: after[name] - before[name] for name in bench.roots} | {"load generator": load.cpu_seconds}
    events = sum(post.event_count for post in posts)
    flush_count = bench.watch.count_flushes(since=started_at, until=max(visible_at))
    freshness = sorted(at - post.due_at for post, at in zip(posts, visible_at, strict=True))
    context.on_progress(f"sustaining {share:.0%} of it", 1, 1)
    return Sustained(
        share=share,
        offered_per_second=round(share * capacity, 1),
        accepted_per_second=round(events / (ended_at - started_at), 1),
        queryable_per_second=round(events / (max(visible_at) - started_at), 1),
        post_p99_ms=round(load.get_percentile_ms(99), 1),
        freshness_p50_seconds=round(_get_percentile(freshness, 50), 3),
        freshness_p99_seconds=round(_get_percentile(freshness, 99), 3),
        freshness_max_seconds=round(freshness[-1], 3),
        event_count=events,
        flush_count=flush_count,
        flushes_per_second=round(flush_count / (max(visible_at) - started_at), 1),
        cpu_seconds_per_million=divide_by_million(cpu, events),
        generator_share=round(load.generator_share, 3),
    )


def _await_visible(bench: _Bench, load: Load) -> tuple[list[Post], list[float]]:
    """Raises BenchMiscount for a post that was accepted in part, NeverVisible."""
    posts = parse_posts(load.answers)
    if any(post.event_count != BATCH_EVENTS for post in posts):
        raise BenchMiscount(f"some posts of {BATCH_EVENTS} events were accepted in part only")
    bench.acknowledged += sum(post.event_count for post in posts)
    return posts, bench.watch.wait_visible(posts, within_seconds=VISIBLE_SECONDS)


def _get_percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

"""Counts of a video over HTTP: one gateway worker on one core, the load generator and all servers on the others.

Kept: a few videos asked for all the time. Unkept: every request another video, at a fixed rate. Through Django: as
kept, with a parameter that the hot lane leaves to the views. Rates and times suffer from whatever else the
machine does, what a request costs the gateway does not.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from localcluster import LocalCluster
from viewcounter.operations.bench.drain import DrainBenchOptions, fill_and_drain
from viewcounter.operations.bench.http_load import Load, run_closed, run_open
from viewcounter.operations.bench.part import BenchContext
from viewcounter.operations.bench.pinning import pinned
from viewcounter.operations.bench.report import PartReport, Table
from viewcounter.operations.bench.step_process import run_step
from viewcounter.operations.bench.usage import read_cpu_seconds
from viewcounter.operations.bench.workload import VIDEO_COUNT

KEPT_VIDEOS = 200
WARM_SECONDS = 1.5
EVENTS = 100_000
PARTITIONS = 8


@dataclass(frozen=True, slots=True)
class ReadsBenchOptions:
    connections: int
    seconds: float
    unkept_per_second: float


FULL = ReadsBenchOptions(connections=64, seconds=10.0, unkept_per_second=500.0)
QUICK = ReadsBenchOptions(connections=64, seconds=2.0, unkept_per_second=200.0)


@dataclass(frozen=True, slots=True)
class ReadFigures:
    """`cpu_us`: of the gateway, a request, warming up included."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class ReadsBenchReport:
    """`worker_cores`: where the gateway worker ran, alone if the machine has more than one core."""

    kept: ReadFigures
    unkept: ReadFigures
    through_django: ReadFigures
    worker_cores: list[int]


class ReadsPart:
    name = "reads"
    title = "counts of a video over HTTP: kept, not kept, and through Django"

    def run(self, context: BenchContext) -> PartReport:
        """One round, whatever was asked for."""
        drain = DrainBenchOptions(
            event_count=EVENTS, workers=1, shards=1, replicas_per_shard=1, partitions=PARTITIONS, with_floor=False
        )
        cluster = context.clusters.get(drain.spec)
        fill_and_drain(cluster, drain, context.on_progress)
        [said] = run_step(cluster, "key")
        web = cluster.application("web")
        web.start()
        try:
            web.wait_ready()
            with pinned(web.pid) as cores:
                report = _measure(cluster, QUICK if context.quick else FULL, said["token"], cores)
        finally:
            web.stop()
        return _describe(report)


def _describe(report: ReadsBenchReport) -> PartReport:
    rows = tuple(
        (
            name,
            f"{figures.requests_per_second:,.0f}",
            f"{figures.p50_ms:.1f}",
            f"{figures.p99_ms:.1f}",
            f"{figures.cpu_us:,.0f}",
        )
        for name, figures in (("kept", report.kept), ("not kept", report.unkept), ("by Django", report.through_django))
    )
    note = f"gateway worker on core {', '.join(map(str, report.worker_cores))}"
    columns = ("", "requests/s", "p50 ms", "p99 ms", "CPU us")
    return PartReport(
        name=ReadsPart.name,
        title=ReadsPart.title,
        tables=(Table("Counts of a video", columns, rows, (note,)),),
        plots=(),
        bounded_by=("the gateway's one core",),
        figures=asdict(report),
    )


def _measure(cluster: LocalCluster, options: ReadsBenchOptions, token: str, cores: list[int]) -> ReadsBenchReport:
    url = urlsplit(cluster.web_url)
    address = (str(url.hostname), int(url.port or 80))
    gateway = {"gateway": [cluster.application("web").pid]}
    rng = random.Random(1)  # noqa: S311 - which videos are asked for, no secret
    every = [f"video-{number:06d}" for number in range(VIDEO_COUNT)]
    rng.shuffle(every)

    def ask(videos: list[str], query: str = "") -> Iterator[bytes]:
        return itertools.cycle([_build_request(url.netloc, token, video, query) for video in videos])

    def summarize(run: Callable[[], Load]) -> ReadFigures:
        before = read_cpu_seconds(gateway)["gateway"]
        load = run()
        cpu_seconds = read_cpu_seconds(gateway)["gateway"] - before
        return ReadFigures(
            requests_per_second=round(load.per_second, 1),
            p50_ms=round(load.get_percentile_ms(50), 2),
            p99_ms=round(load.get_percentile_ms(99), 2),
            cpu_us=round(cpu_seconds / load.answered_count * 1_000_000, 1),
        )

    def measure_closed(query: str) -> ReadFigures:
        requests = ask(every[:KEPT_VIDEOS], query)
        return summarize(
            lambda: run_closed(
                address,
                requests,
                connections=options.connections,
                warm_seconds=WARM_SECONDS,
                seconds=options.seconds,
            )
        )

    return ReadsBenchReport(
        kept=measure_closed(""),
        unkept=summarize(
            lambda: run_open(
                address,
                ask(every[KEPT_VIDEOS:]),
                connections=options.connections,
                per_second=options.unkept_per_second,
                seconds=options.seconds,
            )
        ),
        through_django=measure_closed("?consistency=eventual"),
        worker_cores=cores,
    )


def _build_request(host: str, token: str, video_id: str, query: str) -> bytes:
    lines = (
        f"GET /v1/videos/{video_id}/counts{query} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {token}",
        "Accept: */*",
    )
    return "\r\n".join([*lines, "", ""]).encode()

"""`manage.py bench`: measure the service on servers of its own."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from localcluster.errors import LocalClusterError
from viewcounter.operations.bench.drain import DrainBenchOptions, DrainBenchReport, OnProgress, run_drain_bench
from viewcounter.operations.bench.errors import BadOption, BenchError
from viewcounter.operations.bench.reads import ReadsBenchOptions, ReadsBenchReport, run_reads_bench

MEBIBYTE = 1024 * 1024


class Command(BaseCommand):
    help = "Measure the service on a temporary cluster: a benchmark each as a subcommand. See docs/benchmarks.md."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        benches = parser.add_subparsers(dest="bench", required=True)
        drain = benches.add_parser(
            "drain", help="drains alone: from a full log to committed, CPU by component, and the ratio to the floor"
        )
        drain.add_argument("--events", type=int, default=2_000_000, help="events in the log (default: %(default)s)")
        drain.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
        drain.add_argument("--shards", type=int, default=2, help="shards (default: %(default)s)")
        drain.add_argument("--replicas", type=int, default=1, help="streaming replicas a shard (default: %(default)s)")
        drain.add_argument("--partitions", type=int, default=32, help="partitions (default: %(default)s)")
        drain.add_argument("--no-floor", action="store_true", help="leave out the comparison with a straight line")
        drain.add_argument("--json", action="store_true", help="print the report as JSON")
        reads = benches.add_parser("reads", help="counts over HTTP: kept, not kept, and through Django beside them")
        reads.add_argument("--connections", type=int, default=64, help="open at once (default: %(default)s)")
        reads.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)s)")
        reads.add_argument("--rate", type=float, default=500.0, help="not kept, requests/s (default: %(default)s)")
        reads.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, **options: Any) -> None:
        measure = self._measure_reads if options["bench"] == "reads" else self._measure_drain
        try:
            with _ProgressBars() as bars:
                report = measure(options, bars.move)
        except BadOption as error:
            raise CommandError(str(error)) from error
        except (BenchError, LocalClusterError) as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(asdict(report)))
        elif isinstance(report, DrainBenchReport):
            _print_report(report, Console())
        else:
            _print_reads(report, Console())

    @staticmethod
    def _measure_reads(options: dict[str, Any], on_progress: OnProgress) -> ReadsBenchReport:
        bench_options = ReadsBenchOptions(
            connections=options["connections"], seconds=options["seconds"], unkept_per_second=options["rate"]
        )
        return run_reads_bench(bench_options, on_progress=on_progress)

    @staticmethod
    def _measure_drain(options: dict[str, Any], on_progress: OnProgress) -> DrainBenchReport:
        bench_options = DrainBenchOptions(
            event_count=options["events"],
            workers=options["workers"],
            shards=options["shards"],
            replicas_per_shard=options["replicas"],
            partitions=options["partitions"],
            with_floor=not options["no_floor"],
        )
        return run_drain_bench(bench_options, on_progress=on_progress)


class _ProgressBars:
    """One bar a part, on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} events"),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_ProgressBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def move(self, part: str, done: int, total: int) -> None:
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part, total=total)
        self._progress.update(self._tasks[part], completed=done)


def _print_report(report: DrainBenchReport, console: Console) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("events", f"{report.event_count:,} in {report.flush_count:,} flushes, {report.seconds:.1f} s")
    table.add_row("drained", f"{report.events_per_second:,.0f} events/s to committed")
    if report.floor_events_per_second is not None:
        table.add_row("floor", f"{report.floor_events_per_second:,.0f} events/s; ratio {report.ratio_to_floor:.2f}")
    for name, seconds in report.cpu_seconds_per_million.items():
        floor = report.floor_cpu_seconds_per_million.get(name)
        table.add_row(f"CPU {name}", f"{seconds:.2f} s a million events" + (f" (floor {floor:.2f})" if floor else ""))
    peaks = ", ".join(f"{size / MEBIBYTE:.0f} MiB" for size in report.worker_peak_rss_bytes)
    table.add_row("worker peak RSS", peaks)
    console.print(table)


def _print_reads(report: ReadsBenchReport, console: Console) -> None:
    table = Table("", "requests/s", "p50 ms", "p99 ms", "CPU us", box=None)
    for name, figures in (("kept", report.kept), ("not kept", report.unkept), ("by Django", report.through_django)):
        rate, cpu = f"{figures.requests_per_second:,.0f}", f"{figures.cpu_us:,.0f}"
        table.add_row(name, rate, f"{figures.p50_ms:.1f}", f"{figures.p99_ms:.1f}", cpu)
    console.print(table)
    console.print(f"gateway worker on core {', '.join(map(str, report.worker_cores))}")

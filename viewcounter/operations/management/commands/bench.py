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
from viewcounter.operations.bench.drain import DrainBenchOptions, DrainBenchReport, run_drain_bench
from viewcounter.operations.bench.errors import BadOption, BenchError

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

    def handle(self, **options: Any) -> None:
        bench_options = DrainBenchOptions(
            event_count=options["events"],
            workers=options["workers"],
            shards=options["shards"],
            replicas_per_shard=options["replicas"],
            partitions=options["partitions"],
            with_floor=not options["no_floor"],
        )
        try:
            with _ProgressBars() as bars:
                report = run_drain_bench(bench_options, on_progress=bars.move)
        except BadOption as error:
            raise CommandError(str(error)) from error
        except (BenchError, LocalClusterError) as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(asdict(report)))
        else:
            _print_report(report, Console())


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

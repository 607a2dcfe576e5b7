"""What `manage.py drill` does: inject faults into a cluster of its own under load, and verify its guarantee."""

import json
import secrets
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from django.core.management.base import CommandError, OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from devtools.drill.errors import BadDrillOption, DrillError
from devtools.drill.options import DrillOptions, choose_seed
from devtools.drill.page import describe_whole, describe_written, render_page
from devtools.drill.registry import FAULTS
from devtools.drill.report import DrillReport
from devtools.drill.run import DrillProgress, run_drill
from devtools.localcluster.errors import LocalClusterError
from devtools.localcluster.small_disk import can_mount

EXIT_BROKEN = 1
PLAIN_WIDTH = 140
"""Columns if the output is not a terminal."""


def run_drill_command(options: dict[str, Any], *, stdout: OutputWrapper, stderr: OutputWrapper) -> None:
    """Exits with status 1 unless the guarantee held."""
    fresh = secrets.randbelow(10**6)
    drill_options = DrillOptions(
        seed=choose_seed(options["seed"], quick=options["quick"], fresh=fresh),
        minutes=options["minutes"],
        kinds=tuple(name for name in options["faults"].split(",") if name),
        quick=options["quick"],
        repeat=options["repeat"],
        rate=options["rate"],
        without=tuple(name for name in options["without"].split(",") if name),
        control_replicas=options["control_replicas"],
        journal_dir=options["journal"],
        can_mount=can_mount(),
    )
    try:
        drill_options.check()
        if options["list"]:
            _print_plan(drill_options)
            return
        stderr.write(f"seed {drill_options.seed}")
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        with _LiveLine(sys.stderr) as line:
            report = run_drill(drill_options, on_progress=line.show)
    except BadDrillOption as error:
        raise CommandError(str(error)) from error
    except (DrillError, LocalClusterError) as error:
        raise CommandError(f"no verdict: {type(error).__name__}: {error}") from error
    _write(report, html=options["html"], json_file=options["json"], stdout=stdout)
    if not report.has_held:
        sys.exit(EXIT_BROKEN)


def _write(report: DrillReport, *, html: Path | None, json_file: Path | None, stdout: OutputWrapper) -> None:
    if html is not None:
        html.write_text(render_page(report), encoding="utf-8")
    encoded = json.dumps(report.encode(), indent=1)
    if json_file == Path("-"):
        stdout.write(encoded)
        return
    if json_file is not None:
        json_file.write_text(encoded, encoding="utf-8")
    _print_report(report, _open_console())


class _LiveLine:
    """A progress bar on a terminal, else a line for each report."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, progress: DrillProgress) -> None:
        if self._console.is_terminal:
            self._progress.update(self._task, completed=progress.done, description=progress.text)
        self._console.print(progress.text, highlight=False, markup=False, soft_wrap=True)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Like Ctrl-C: the cluster is stopped and cleaned up."""
    raise KeyboardInterrupt(number)


def _open_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def _print_plan(options: DrillOptions) -> None:
    console = _open_console()
    kinds = Table("fault", "what it does", box=None)
    for name, entry in FAULTS.items():
        kinds.add_row(name, entry.what)
    console.print(kinds)
    plan = Table("after", "fault", "for", box=None)
    for fault in options.plan():
        plan.add_row(f"{fault.at_seconds:.1f} s", fault.kind, f"{fault.hold_seconds:.1f} s")
    console.print(f"\nThe plan of seed {options.seed}:")
    console.print(plan)


def _print_report(report: DrillReport, console: Console) -> None:
    faults = Table("at", "fault", "on", "whole after", "written after", "failed posts", "failed reads", box=None)
    for i in report.incidents:
        times = (describe_whole(i), describe_written(i))
        failed = (str(i.failed_posts), str(i.failed_reads))
        faults.add_row(f"{i.struck_seconds:.1f} s", i.kind, i.victim, *times, *failed)
    console.print(faults)
    for summary in report.summarize():
        console.print(
            f"{summary.kind}: written again after {summary.median_written_again_seconds:.2f} s (median of "
            f"{summary.count}), {summary.worst_written_again_seconds:.2f} s at worst"
        )
    for name, client in (("posts", report.posts), ("reads", report.reads)):
        latency = "" if client.p99_ms is None else f", p50 {client.p50_ms:.0f} ms, p99 {client.p99_ms:.0f} ms"
        console.print(f"{name}: {client.answers}{latency}", highlight=False)
    console.print(
        f"{report.acknowledged:,} events acknowledged in {report.load_seconds:.0f} s, {report.duplicates_sent:,} of "
        f"them sent again, {report.refused:,} refused, {report.poison} dead letters"
    )
    if report.losses.text:
        console.print(report.losses.text, highlight=False, soft_wrap=True)
    for violation in report.violations:
        console.print(f"BROKEN: {violation}", highlight=False, markup=False, soft_wrap=True)
    if report.has_held:
        but = ", or is in a range that is reported as lost" if report.losses.lost else ""
        console.print(
            f"The guarantee held: every acknowledged event is counted exactly once{but} (seed {report.seed})."
        )
    else:
        console.print(f"The guarantee did not hold. Repeat the drill with --seed {report.seed}.")

"""What `manage.py bench` does: measure the service on servers of its own."""

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from django.core.management.base import CommandError, OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from devtools.bench.clusters import Clusters
from devtools.bench.defaults import DRAIN_EVENTS, QUICK_DRAIN_EVENTS, QUICK_ROUNDS, ROUNDS
from devtools.bench.drain import DrainBenchOptions
from devtools.bench.errors import BadBenchOption, BenchError
from devtools.bench.ingest import FULL, QUICK, IngestChoices
from devtools.bench.machine import read_machine
from devtools.bench.markdown import render_markdown
from devtools.bench.page import render_page
from devtools.bench.part import BenchContext, BenchPart
from devtools.bench.parts import choose_parts, list_parts, run_parts
from devtools.bench.report import BenchReport, Machine, PartReport
from devtools.bench.terminal import print_report
from devtools.localcluster.errors import LocalClusterError

OPTIONS_OF = {
    "events": ("drain",),
    "workers": ("drain",),
    "no_floor": ("drain",),
    "batches": ("ingest",),
    "connections": ("ingest",),
    "seconds": ("ingest",),
    "shards": ("ingest", "pipeline", "drain", "peers", "abuse"),
    "replicas": ("ingest", "pipeline", "drain", "peers", "abuse"),
    "partitions": ("ingest", "pipeline", "drain", "peers", "abuse"),
}
"""The parts to which an option applies."""
STDOUT = Path("-")
PLAIN_WIDTH = 140
"""Columns if the output is not a terminal."""


def run_bench(options: dict[str, Any], *, stdout: OutputWrapper) -> None:
    """Raises CommandError if a part has no result; results of the parts before it are written."""
    try:
        parts, rounds = _choose(options)
        machine = read_machine()
    except BadBenchOption as error:
        raise CommandError(str(error)) from error
    except LocalClusterError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from error
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    done: list[PartReport] = []
    failure = None
    try:
        with _ProgressBars() as bars, Clusters(on_news=bars.tell) as clusters:
            context = BenchContext(clusters, quick=options["quick"], rounds=rounds, on_progress=bars.move)
            for part in run_parts(parts, context):
                done.append(part)
                _save(_build_report(done, machine, options, rounds), options)
    except (BenchError, LocalClusterError) as error:
        failure = f"{parts[len(done)].name} has no result: {type(error).__name__}: {error}"
    except KeyboardInterrupt:
        failure = f"{parts[len(done)].name} was interrupted; no server is left"
    if done:
        _print(_build_report(done, machine, options, rounds), options["json"], stdout=stdout)
    if failure is not None:
        raise CommandError(failure)


def _print(report: BenchReport, json_file: Path | None, *, stdout: OutputWrapper) -> None:
    if json_file == STDOUT:
        stdout.write(json.dumps(report.encode(), indent=1))
    else:
        print_report(report, Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH))


def _choose(options: dict[str, Any]) -> tuple[list[BenchPart], int]:
    """Parts and rounds. Raises BadBenchOption."""
    drain = _choose_drain(options)
    drain.check()
    choices = IngestChoices(options["batches"] or (), options["connections"] or (), options["seconds"])
    ingest = choices.change(QUICK if options["quick"] else FULL)
    ingest.check()
    parts = choose_parts(list_parts(drain, ingest), options["parts"])
    for name, owners in OPTIONS_OF.items():
        if options[name] not in (None, False) and not any(part.name in owners for part in parts):
            raise BadBenchOption(f"--{name.replace('_', '-')}: only for {', '.join(owners)}")
    rounds = options["rounds"]
    if rounds is None:
        rounds = QUICK_ROUNDS if options["quick"] else ROUNDS
    if rounds < 1:
        raise BadBenchOption("--rounds: must be 1 or more")
    return parts, rounds


def _choose_drain(options: dict[str, Any]) -> DrainBenchOptions:
    def get(name: str, default: int) -> int:
        given = options.get(name)
        return default if given is None else given

    return DrainBenchOptions(
        event_count=get("events", QUICK_DRAIN_EVENTS if options.get("quick") else DRAIN_EVENTS),
        workers=get("workers", 2),
        shards=get("shards", 2),
        replicas_per_shard=get("replicas", 1),
        partitions=get("partitions", 32),
        with_floor=not options.get("no_floor"),
    )


def _save(report: BenchReport, options: dict[str, Any]) -> None:
    """Called after each part, so that a run that ends early has written its results."""
    if options["html"] is not None:
        options["html"].write_text(render_page(report), encoding="utf-8")
    if options["markdown"] is not None:
        options["markdown"].write_text(render_markdown(report), encoding="utf-8")
    if options["json"] not in (None, STDOUT):
        options["json"].write_text(json.dumps(report.encode(), indent=1), encoding="utf-8")


def _build_report(done: list[PartReport], machine: Machine, options: dict[str, Any], rounds: int) -> BenchReport:
    asked = {"parts": [part.name for part in done], "quick": options["quick"], "rounds": rounds}
    return BenchReport(datetime.now(UTC), machine, asked, tuple(done))


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Like Ctrl-C: the cluster is stopped and cleaned up."""
    raise KeyboardInterrupt(number)


class _ProgressBars:
    """One progress bar for each step, on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def move(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)

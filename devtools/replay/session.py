"""Runs a replay for a command: progress on stderr, the report on stdout."""

import sys
from datetime import datetime

from django.core.management.base import CommandError
from rich.console import Console

from devtools.replay.errors import ReplayError
from devtools.replay.plan import ReplayOptions
from devtools.replay.progress import ReplayProgress
from devtools.replay.report import encode_report, render_report
from devtools.replay.run import run_replay
from devtools.settings import DevtoolsConfig


def run_and_report(options: ReplayOptions, *, config: DevtoolsConfig, now: datetime, as_json: bool) -> bool:
    """True if every count is exact. Raises CommandError if the run could not be completed."""
    try:
        with ReplayProgress(sys.stderr) as progress:
            report = run_replay(options, config=config, now=now, on_progress=progress)
    except ReplayError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from error
    if as_json:
        sys.stdout.write(f"{encode_report(report)}\n")
        sys.stdout.flush()
    else:
        Console(file=sys.stdout).print(render_report(report))
    return report.is_exact

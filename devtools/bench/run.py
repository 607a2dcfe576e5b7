"""Runs parts one after the other, on clusters that they share where they may."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from devtools.bench.part import BenchContext, BenchPart
from devtools.bench.report import PartReport


def run_parts(parts: Iterable[BenchPart], context: BenchContext) -> Iterator[PartReport]:
    """Each as soon as it is done. Raises BenchError, LocalClusterError of the first part that has no result."""
    for part in parts:
        started_at = time.monotonic()
        report = part.run(context)
        context.figures[part.name] = report.figures
        yield replace(report, seconds=time.monotonic() - started_at)

"""All parts of the benchmark in their order, in which parts that share a cluster follow each other; and their run."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from devtools.bench.abuse import AbusePart
from devtools.bench.drain import DrainBenchOptions
from devtools.bench.drain_part import DrainPart
from devtools.bench.errors import BadBenchOption
from devtools.bench.idle import IdlePart
from devtools.bench.ingest import IngestPart, IngestPlan
from devtools.bench.part import BenchContext, BenchPart
from devtools.bench.peers_part import PeersPart
from devtools.bench.pipeline import PipelinePart
from devtools.bench.read_part import ReadPart
from devtools.bench.report import PartReport
from devtools.bench.scale import ScalePart


def list_parts(drain: DrainBenchOptions, ingest: IngestPlan) -> list[BenchPart]:
    """Parts that post and drain run on the cluster of `drain`."""
    return [
        IngestPart(drain.spec, ingest),
        PipelinePart(drain.spec),
        DrainPart(drain),
        PeersPart(drain.spec),
        AbusePart(drain.spec),
        ReadPart(),
        IdlePart(),
        ScalePart(),
    ]


def choose_parts(parts: Sequence[BenchPart], wanted: Sequence[str]) -> list[BenchPart]:
    """The wanted parts, or all, in the order of `parts`. Raises BadBenchOption for an unknown name."""
    names = [part.name for part in parts]
    for name in wanted:
        if name not in names:
            raise BadBenchOption(f"there is no part {name!r}; there are {', '.join(names)}")
    return [part for part in parts if not wanted or part.name in wanted]


def run_parts(parts: Iterable[BenchPart], context: BenchContext) -> Iterator[PartReport]:
    """Yields each report when its part is done. Raises the BenchError or LocalClusterError of the first failed part."""
    for part in parts:
        started_at = time.monotonic()
        report = part.run(context)
        context.figures[part.name] = report.figures
        yield replace(report, seconds=time.monotonic() - started_at)

"""The parts there are, in the order in which they run: those that share a cluster beside each other."""

from collections.abc import Sequence

from devtools.bench.abuse import AbusePart
from devtools.bench.drain import DrainBenchOptions
from devtools.bench.drain_part import DrainPart
from devtools.bench.errors import BadBenchOption
from devtools.bench.ingest import IngestPart, IngestPlan
from devtools.bench.part import BenchPart
from devtools.bench.peers_part import PeersPart
from devtools.bench.pipeline import PipelinePart
from devtools.bench.read_part import ReadPart
from devtools.bench.scale import ScalePart


def list_parts(drain: DrainBenchOptions, ingest: IngestPlan) -> list[BenchPart]:
    """Those of posts and drains on the cluster of `drain`."""
    return [
        IngestPart(drain.spec, ingest),
        PipelinePart(drain.spec),
        DrainPart(drain),
        PeersPart(drain.spec),
        AbusePart(drain.spec),
        ReadPart(),
        ScalePart(),
    ]


def choose_parts(parts: Sequence[BenchPart], wanted: Sequence[str]) -> list[BenchPart]:
    """All if none is named, in the order of `parts`. Raises BadOption for a name that there is not."""
    names = [part.name for part in parts]
    for name in wanted:
        if name not in names:
            raise BadBenchOption(f"there is no part {name!r}; there are {', '.join(names)}")
    return [part for part in parts if not wanted or part.name in wanted]

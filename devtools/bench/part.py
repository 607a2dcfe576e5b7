"""The interface between the command and the parts of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from devtools.bench.clusters import Clusters
from devtools.bench.report import PartReport

OnProgress = Callable[[str, int, int], None]
"""Called with the description of a step, its progress, and its total."""


@dataclass(frozen=True, slots=True)
class BenchContext:
    """`quick`: all parts together are to take less than two minutes on two quiet cores. `rounds`: how often
    each thing is measured after warming up; report their `Spread`. `figures`: of the parts that ran before, by name."""

    clusters: Clusters
    quick: bool
    rounds: int
    on_progress: OnProgress
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)


class BenchPart(Protocol):
    """A part of the benchmark. `run` leaves no process running, also after an error."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """A short description of what the part measures."""

    def run(self, context: BenchContext) -> PartReport:
        """Raises BenchError, LocalClusterError."""

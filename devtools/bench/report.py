"""The report of a part of the benchmark: pure data for terminal, JSON and page."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Median and ends of at least one round."""
        return cls(statistics.median(values), min(values), max(values))

    def describe(self, style: str = ",.0f") -> str:
        """`5,900 (5,700..6,100)`; without the ends when they look the same."""
        middle, ends = format(self.median, style), (format(self.lowest, style), format(self.highest, style))
        return middle if ends == (middle, middle) else f"{middle} ({ends[0]}..{ends[1]})"


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Cells are texts as they are to be shown; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {len(self.columns)} columns, but a row of {len(row)}: {row}")


@dataclass(frozen=True, slots=True)
class Series:
    """`points` as (x, y), ascending in x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines through points. On an axis with a logarithmic scale points of 0 or less are left out."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False


@dataclass(frozen=True, slots=True)
class PartReport:
    """`figures`: all measured values, for JSON, with units at the ends of names. `bounded_by`: the bottlenecks of the
    figures, a sentence each. `seconds`: duration of the part, set by the caller of `run`."""

    name: str
    title: str
    tables: tuple[ReportTable, ...]
    plots: tuple[Plot, ...]
    bounded_by: tuple[str, ...]
    figures: dict[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of the measurement. Versions are those that the programs print."""

    cores: int
    cpu_model: str
    memory_bytes: int
    kernel: str
    python: str
    postgresql: str
    valkey: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """`options`: the given options, by name."""

    measured_at: datetime
    machine: Machine
    options: dict[str, Any]
    parts: tuple[PartReport, ...] = field(default=())

    def encode(self) -> dict[str, Any]:
        """For JSON: figures and tables, so that the file can be read alone; plots are on the page only."""
        encoded = asdict(self) | {"measured_at": self.measured_at.isoformat()}
        for part in encoded["parts"]:
            del part["plots"]
        return encoded

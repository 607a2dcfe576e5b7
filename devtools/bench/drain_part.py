"""Part `drain`: speed of drains alone, and its ratio to the same statements sent in sequence."""

from dataclasses import asdict, replace

from devtools.bench.defaults import TITLES
from devtools.bench.drain import DrainBenchOptions, DrainBenchReport, fill_and_drain, measure_floor
from devtools.bench.part import BenchContext
from devtools.bench.report import PartReport, ReportTable, Spread

MEBIBYTE = 1024 * 1024
WARM_SHARE = 10
"""Warming up drains one event in this many."""


class DrainPart:
    name = "drain"
    title = TITLES[name]

    def __init__(self, options: DrainBenchOptions) -> None:
        self._options = options

    def run(self, context: BenchContext) -> PartReport:
        options = self._options
        if not context.quick:
            warm = replace(options, event_count=max(1, options.event_count // WARM_SHARE))
            fill_and_drain(context.clusters.get(options.spec), warm, context.on_progress)
        rounds = []
        for _ in range(context.rounds):
            cluster = context.clusters.get(options.spec)
            rounds.append(fill_and_drain(cluster, options, context.on_progress))
            if options.with_floor:
                measure_floor(cluster, rounds[-1], options, context.on_progress)
        return describe_drains(options, rounds)


def describe_drains(options: DrainBenchOptions, rounds: list[DrainBenchReport]) -> PartReport:
    """Pure."""
    drained = Spread.of([r.events_per_second for r in rounds])
    rows = [("events/s to committed", drained.describe(), _describe_floor([r.floor_events_per_second for r in rounds]))]
    for name in rounds[0].cpu_seconds_per_million:
        spent = Spread.of([r.cpu_seconds_per_million[name] for r in rounds])
        floor = _describe_floor([r.floor_cpu_seconds_per_million.get(name) for r in rounds], style=".2f")
        rows.append((f"CPU of {name}, s a million events", spent.describe(".2f"), floor))
    peaks = [max(r.worker_peak_rss_bytes) / MEBIBYTE for r in rounds]
    rows.append(("largest worker, peak RSS, MiB", Spread.of(peaks).describe(), ""))
    notes = [f"{options.event_count:,} events in {rounds[0].flush_count:,} flushes, {options.workers} workers"]
    ratios = [r.ratio_to_floor for r in rounds if r.ratio_to_floor is not None]
    if ratios:
        notes.append(f"ratio to the floor: {Spread.of(ratios).describe('.2f')}")
    total = Spread.of([sum(r.cpu_seconds_per_million.values()) for r in rounds])
    return PartReport(
        name=DrainPart.name,
        title=DrainPart.title,
        tables=(ReportTable("Drains and their floor", ("", "drains", "floor"), tuple(rows), tuple(notes)),),
        plots=(),
        bounded_by=(
            f"CPU: a million events cost {total.describe('.2f')} s of it over all components, so C cores can commit no "
            f"more than C x {1_000_000 / total.median:,.0f} events/s.",
        ),
        figures={"options": asdict(options), "rounds": [asdict(each) for each in rounds]},
    )


def _describe_floor(values: list[float | None], *, style: str = ",.0f") -> str:
    known = [value for value in values if value is not None]
    return Spread.of(known).describe(style) if known else ""

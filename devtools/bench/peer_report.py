"""The report of part `peers`. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from devtools.bench.peer_runs import PeerRun
from devtools.bench.report import PartReport, ReportTable, Spread

NAMES = {
    "drf": "DRF view, one event a request, F() update",
    "drf_batches": "DRF view, 1,000 a request, bulk_create and upsert",
    "drf_checked": "the same, ids looked up and unique",
    "floor": "bare psycopg, COPY and upsert, 1,000 at once",
    "floor_large": "bare psycopg, 40,000 at once",
    "olap": "chdb in the process, 1,000 at once",
    "service": "viewcounter, one event a request",
    "service_batches": "viewcounter, 1,000 a request",
}
"""In the order of the table."""
BASE = "drf"
NOT_INSTALLED = "not installed"
_BOUNDS = (
    "DRF, one event a request: the web workers' core; three sync workers share it, so that it has work while one of "
    "them waits for its commit.",
    "DRF in batches: the same core, which a serializer keeps busy with each of the events.",
    "Bare psycopg: one connection, whose client and server take turns.",
    "viewcounter, acknowledged: the gateway's core. Committed: the other core, which log, workers, PostgreSQL and the "
    "load generator share.",
)


def describe_peers(rounds: Sequence[Mapping[str, PeerRun]], *, name: str, title: str) -> PartReport:
    """`rounds`: runs by the names of NAMES; a missing one was not installed."""
    by_name = {each: [runs[each] for runs in rounds] for each in NAMES if each in rounds[0]}
    base, base_acknowledged = _find_base(by_name)
    return PartReport(
        name=name,
        title=title,
        tables=(
            _tabulate_speed(by_name),
            _tabulate_exactness(by_name),
            _tabulate_cpu(by_name),
        ),
        plots=(),
        bounded_by=_BOUNDS,
        figures={
            "rounds": [
                {each: asdict(run) | {"counted_twice": run.counted_twice} for each, run in runs.items()}
                for runs in rounds
            ],
            "ratios_to_drf": {
                each: {
                    "acknowledged": _median(runs, "acknowledged_per_second") / base_acknowledged,
                    "committed": _median(runs, "committed_per_second") / base,
                }
                for each, runs in by_name.items()
            },
        },
    )


def _tabulate_speed(by_name: Mapping[str, Sequence[PeerRun]]) -> ReportTable:
    base, base_acknowledged = _find_base(by_name)
    rows = []
    for name, label in NAMES.items():
        runs = by_name.get(name)
        if runs is None:
            rows.append((label, NOT_INSTALLED, "", "", "", ""))
            continue
        acknowledged = _spread(runs, lambda run: run.acknowledged_per_second)
        committed = _spread(runs, lambda run: run.committed_per_second)
        rows.append(
            (
                label,
                acknowledged.describe(),
                committed.describe(),
                f"{acknowledged.median / base_acknowledged:,.1f} and {committed.median / base:,.1f}",
                _spread(runs, lambda run: run.p50_ms).describe(",.1f"),
                _spread(runs, lambda run: run.p99_ms).describe(",.1f"),
            )
        )
    columns = ("", "events/s acknowledged", "events/s committed", "times DRF", "p50 ms", "p99 ms")
    notes = (
        "acknowledged: answered, or returned where there is no HTTP; committed: counted in PostgreSQL, to the last one",
        "64 connections for single events, 4 for batches; times are of a request, or of a batch",
        "times DRF: acknowledged and committed events/s by those of the first row",
    )
    return ReportTable("Speed", columns, tuple(rows), notes)


def _tabulate_exactness(by_name: Mapping[str, Sequence[PeerRun]]) -> ReportTable:
    rows = tuple(
        (
            NAMES[name],
            f"{sum(run.sent_count for run in runs):,}",
            f"{sum(run.repeated_count for run in runs):,}",
            f"{sum(run.counted for run in runs):,}",
            f"{sum(run.counted_twice for run in runs):,}",
        )
        for name, runs in by_name.items()
    )
    columns = ("", "sent", "of them again", "counted", "counted twice")
    return ReportTable("Exactness: one event in a hundred is sent again", columns, rows, ("all rounds together",))


def _tabulate_cpu(by_name: Mapping[str, Sequence[PeerRun]]) -> ReportTable:
    rows = []
    for name, runs in by_name.items():
        parts = {part: _spread(runs, _read_part(part)).median for part in runs[0].cpu_seconds_per_million}
        share = _spread(runs, lambda run: run.load_cpu_share).median
        rows.append(
            (
                NAMES[name],
                _spread(runs, lambda run: run.total_cpu_seconds_per_million).describe(",.1f"),
                ", ".join(f"{part} {seconds:,.1f}" for part, seconds in parts.items() if seconds >= 0.05),
                f"{share:.0%}" if share else "",
            )
        )
    columns = ("", "CPU s a million events", "by part", "load generator, of a core")
    return ReportTable("Cost", columns, tuple(rows))


def _find_base(by_name: Mapping[str, Sequence[PeerRun]]) -> tuple[float, float]:
    """Events a second of BASE, committed and acknowledged."""
    runs = by_name[BASE]
    return _median(runs, "committed_per_second"), _median(runs, "acknowledged_per_second")


def _read_part(part: str) -> Callable[[PeerRun], float]:
    return lambda run: run.cpu_seconds_per_million[part]


def _median(runs: Sequence[PeerRun], name: str) -> float:
    return _spread(runs, lambda run: float(getattr(run, name))).median


def _spread(runs: Sequence[PeerRun], read: Callable[[PeerRun], float]) -> Spread:
    return Spread.of([read(run) for run in runs])

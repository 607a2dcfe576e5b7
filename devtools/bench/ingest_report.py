"""Figures of part `ingest` and their report. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from devtools.bench.report import PartReport, Plot, ReportTable, Series, Spread

Key = tuple[int, int, float | None]
"""Events of a batch, connections, share of the capacity."""


@dataclass(frozen=True, slots=True)
class PostFigures:
    """One run. `share`: of the capacity, in an open loop; None in a closed one. CPU is seconds for a million events."""

    batch_events: int
    connections: int
    share: float | None
    events_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds_per_million: dict[str, float]
    generator_share: float


def find_capacity(figures: Sequence[PostFigures], batch_events: int) -> float:
    """Events/s: the best number of connections, of its rounds the middle one."""
    rates: dict[int, list[float]] = {}
    for each in figures:
        if each.share is None and each.batch_events == batch_events:
            rates.setdefault(each.connections, []).append(each.events_per_second)
    return max(sorted(values)[len(values) // 2] for values in rates.values())


def describe_ingest(
    name: str, title: str, figures: Sequence[PostFigures], *, acknowledged: int, core: list[int]
) -> PartReport:
    """`figures`: of every round."""
    groups = _group(figures)
    closed = {key: runs for key, runs in groups.items() if key[2] is None}
    opened = {key: runs for key, runs in groups.items() if key[2] is not None}
    busiest = max(each.generator_share for each in figures)
    notes = (
        f"Gateway worker on core {', '.join(map(str, core))}; log and load generator on the others.",
        f"The load generator kept its core busy {busiest:.0%} of the time at most.",
        f"{acknowledged:,} events were acknowledged, and the log held exactly as many.",
    )
    closed_rows = tuple(_describe_run(key, runs, by=f"{key[1]:,}") for key, runs in closed.items())
    open_rows = tuple(_describe_run(key, runs, by=f"{key[2]:.0%}") for key, runs in opened.items())
    shared = ("events/s", "p50 ms", "p99 ms", "max ms", *(f"CPU {c}" for c in figures[0].cpu_seconds_per_million))
    return PartReport(
        name=name,
        title=title,
        tables=(
            ReportTable(
                "As fast as each connection is answered", ("batch", "connections", *shared), closed_rows, notes
            ),
            ReportTable(
                "At shares of the capacity, from intended start times",
                ("batch", "of capacity", *shared),
                open_rows,
                ("CPU is seconds a million events.",),
            ),
        ),
        plots=(
            _plot(closed, "Accepted", "events/s", lambda each: each.events_per_second),
            _plot(closed, "Latency, p99", "ms", lambda each: each.p99_ms),
        ),
        bounded_by=(_name_bound(closed),),
        figures={
            "acknowledged_events": acknowledged,
            "capacity_events_per_second": {
                str(size): find_capacity(figures, size) for size in sorted({each.batch_events for each in figures})
            },
            "runs": [asdict(each) for each in figures],
        },
    )


def _group(figures: Iterable[PostFigures]) -> dict[Key, list[PostFigures]]:
    groups: dict[Key, list[PostFigures]] = {}
    for each in figures:
        groups.setdefault((each.batch_events, each.connections, each.share), []).append(each)
    return groups


def _describe_run(key: Key, runs: Sequence[PostFigures], *, by: str) -> tuple[str, ...]:
    components = runs[0].cpu_seconds_per_million
    return (
        f"{key[0]:,}",
        by,
        Spread.of([each.events_per_second for each in runs]).describe(),
        Spread.of([each.p50_ms for each in runs]).describe(".1f"),
        Spread.of([each.p99_ms for each in runs]).describe(".1f"),
        Spread.of([each.max_ms for each in runs]).describe(".0f"),
        *(Spread.of([each.cpu_seconds_per_million[name] for each in runs]).describe(".1f") for name in components),
    )


def _plot(closed: dict[Key, list[PostFigures]], title: str, unit: str, read: Callable[[PostFigures], float]) -> Plot:
    sizes = sorted({size for size, _, _ in closed})
    series = tuple(
        Series(
            f"batches of {size}" if size > 1 else "single events",
            tuple(
                (connections, Spread.of([read(each) for each in runs]).median)
                for (batch, connections, _), runs in sorted(closed.items(), key=lambda item: item[0][:2])
                if batch == size
            ),
        )
        for size in sizes
    )
    return Plot(title, "connections", unit, series, x_log=True, y_log=True)


def _name_bound(closed: dict[Key, list[PostFigures]]) -> str:
    """The utilization of the gateway's core at its highest rate."""
    runs = max(closed.values(), key=lambda group: Spread.of([each.events_per_second for each in group]).median)
    used = Spread.of([each.events_per_second * each.cpu_seconds_per_million["gateway"] / 1e6 for each in runs])
    return (
        f"CPU of the gateway: at the highest rate it used {used.median:.0%} of its core. With one connection it waits "
        f"for the group commit: its linger and an fsync of the log in every request."
    )

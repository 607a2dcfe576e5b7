"""Figures of part `scale` and their report. Pure."""

from collections.abc import Sequence
from dataclasses import asdict

from devtools.bench.capacity import Assumptions, Bytes, Costs, Drained, Needs, plan_capacity
from devtools.bench.report import PartReport, Plot, ReportTable, Series, Spread

PLANNED = (100_000, 1_000_000)
"""Events/s."""
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def describe_scale(
    name: str, title: str, drained: Sequence[Drained], measured: Bytes, costs: Costs, *, cores: int
) -> PartReport:
    needs = [plan_capacity(costs, rate) for rate in PLANNED]
    groups = _group(drained)
    most_workers = max(workers for _, workers in groups)
    return PartReport(
        name=name,
        title=title,
        tables=(_describe_drained(groups), _describe_bytes(measured), _describe_costs(costs), _describe_needs(needs)),
        plots=(
            Plot(
                "Drained by workers",
                "worker processes",
                "events/s to committed",
                tuple(_draw(groups, shards) for shards in sorted({shards for shards, _ in groups})),
            ),
        ),
        bounded_by=(
            f"CPU of this machine: {cores} cores are shared by workers, primaries, replicas and log, so a fleet of "
            f"{most_workers} workers shows what it costs, not what it could do on cores of its own. Seconds of CPU a "
            f"million events are what to plan with.",
        ),
        figures={
            "drains": [asdict(each) for each in drained],
            "bytes": asdict(measured),
            "costs": {"cpu_seconds_per_million_events": costs.events, "cpu_seconds_a_flush": costs.flush},
            "assumptions": asdict(Assumptions()),
            "needs": [asdict(each) for each in needs],
        },
    )


def format_bytes(size: float) -> str:
    """`1.3 TB`, `150 B`; three digits."""
    for unit_bytes, unit in _UNITS:
        if size >= unit_bytes:
            return (
                f"{size / unit_bytes:,.3g} {unit}" if size < 1000 * unit_bytes else f"{size / unit_bytes:,.0f} {unit}"
            )
    return f"{size:.3g} B"


def _group(drained: Sequence[Drained]) -> dict[tuple[int, int], list[Drained]]:
    groups: dict[tuple[int, int], list[Drained]] = {}
    for each in sorted(drained, key=lambda d: (d.shards, d.workers)):
        groups.setdefault((each.shards, each.workers), []).append(each)
    return groups


def _draw(groups: dict[tuple[int, int], list[Drained]], shards: int) -> Series:
    points = tuple(
        (float(workers), Spread.of([each.events_per_second for each in rounds]).median)
        for (of, workers), rounds in groups.items()
        if of == shards
    )
    return Series("1 shard" if shards == 1 else f"{shards} shards", points)


def _describe_drained(groups: dict[tuple[int, int], list[Drained]]) -> ReportTable:
    components = list(next(iter(groups.values()))[0].cpu_seconds_per_million)
    rows = []
    for (shards, workers), rounds in groups.items():
        cpu = (
            Spread.of([each.cpu_seconds_per_million[name] for each in rounds]).describe(".2f") for name in components
        )
        rate = Spread.of([each.events_per_second for each in rounds]).describe()
        rows.append((str(shards), str(workers), rate, f"{rounds[0].events_a_flush:,.0f}", *cpu))
    columns = ("shards", "workers", "events/s", "events a flush", *(f"CPU {name}" for name in components))
    return ReportTable("Drains", columns, tuple(rows), ("CPU is seconds a million events.",))


def _describe_bytes(measured: Bytes) -> ReportTable:
    rows = (
        ("log, memory", f"{measured.log_memory:.0f}"),
        ("log, append-only file", f"{measured.log_file:.0f}"),
        ("raw event, on each copy", f"{measured.raw:.0f}"),
        ("id, on each copy", f"{measured.ids:.0f}"),
        ("WAL, to each replica", f"{measured.wal:.0f}"),
        ("minutes, a row", f"{measured.minute_row:.0f}"),
        ("minutes, rows an event in this load", f"{measured.minute_rows_an_event:.3f}"),
        ("totals, a row", f"{measured.total_row:.0f}"),
    )
    return ReportTable("Bytes an event", ("", "bytes"), rows, ("Tables with their indexes, freshly written.",))


def _describe_costs(costs: Costs) -> ReportTable:
    rows = tuple(
        (name, f"{seconds:.2f}", f"{costs.flush[name] * 1000:.1f}" if name in costs.flush else "")
        for name, seconds in costs.events.items()
    )
    notes = () if costs.flush else ("A flush's cost needs the figures of `pipeline`, the gateway's those of `ingest`.",)
    return ReportTable("Cost by component", ("", "CPU s a million events", "CPU ms a flush"), rows, notes)


def _describe_needs(needs: Sequence[Needs]) -> ReportTable:
    given = Assumptions()
    names = list(needs[0].cores)
    rows = [
        ("partitions, at least", *(f"{each.partitions:,}" for each in needs)),
        ("pull processes", *(f"{each.pull_processes:,}" for each in needs)),
        *((f"cores of {name}", *(f"{each.cores[name]:,.1f}" for each in needs)) for name in names),
        (f"shards of {given.cores_a_shard} cores", *(f"{each.shards:,}" for each in needs)),
        (
            f"log memory for {given.outage_minutes} minutes without drains",
            *(format_bytes(each.log_memory_bytes) for each in needs),
        ),
        ("raw events a day, a copy", *(format_bytes(each.raw_bytes_a_day) for each in needs)),
        ("ids a day, a copy", *(format_bytes(each.id_bytes_a_day) for each in needs)),
        ("WAL a second, to each replica", *(format_bytes(each.wal_bytes_per_second) for each in needs)),
        ("JSON a second from clients", *(format_bytes(each.client_bytes_per_second) for each in needs)),
    ]
    notes = [
        f"Cores busy to {given.busy_share:.0%}, a flush of each pull process to each of its shards every "
        f"{given.flush_seconds:g} s, one replica a shard. See docs/operations/capacity.md."
    ]
    if "gateway" not in names:
        notes.append("Cores of the gateway need the figures of `ingest` in the same run.")
    return ReportTable(
        "What more would need", ("", *(f"{each.events_per_second:,}/s" for each in needs)), tuple(rows), tuple(notes)
    )

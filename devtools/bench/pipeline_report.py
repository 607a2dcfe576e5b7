"""Figures of part `pipeline` and their report. Pure."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

from devtools.bench.bare import BareRun
from devtools.bench.capacity import FLUSHING
from devtools.bench.report import PartReport, Plot, ReportTable, Series, Spread


@dataclass(frozen=True, slots=True)
class Sustained:
    """One open loop at a share of the capacity. Freshness: from the scheduled time of a post until every copy of its
    shards counts it. `flush_count`: transactions that moved positions, at least, until everything was queryable."""

    share: float
    offered_per_second: float
    accepted_per_second: float
    queryable_per_second: float
    post_p99_ms: float
    freshness_p50_seconds: float
    freshness_p99_seconds: float
    freshness_max_seconds: float
    event_count: int
    flush_count: int
    flushes_per_second: float
    cpu_seconds_per_million: dict[str, float]
    generator_share: float


def describe_pipeline(
    name: str,
    title: str,
    capacities: Sequence[float],
    sustained: Sequence[Sustained],
    *,
    bare: BareRun,
    acknowledged: int,
    seconds: float,
) -> PartReport:
    capacity = Spread.of(capacities)
    return PartReport(
        name=name,
        title=title,
        tables=(
            ReportTable(
                f"Sustained for {seconds:.0f} s, from intended start times",
                (
                    "of capacity",
                    "accepted/s",
                    "queryable/s",
                    "post p99 ms",
                    "fresh p50 s",
                    "fresh p99 s",
                    "fresh max s",
                    "events a flush",
                    "flushes/s",
                ),
                tuple(_describe_sustained(each) for each in sustained),
                (
                    f"Capacity, by saturating it: {capacity.describe()} events/s from post to queryable.",
                    "Fresh: from a post's intended time until every copy of its shards counts it, seen to 0.05 s.",
                    f"{acknowledged:,} events were acknowledged, and the shards hold each exactly once.",
                    _compare(capacity.median, bare),
                ),
            ),
            _describe_cpu(sustained),
        ),
        plots=(
            Plot(
                "Freshness",
                "events/s accepted",
                "seconds",
                (
                    _draw(sustained, "p50", lambda each: each.freshness_p50_seconds),
                    _draw(sustained, "p99", lambda each: each.freshness_p99_seconds),
                    _draw(sustained, "max", lambda each: each.freshness_max_seconds),
                ),
            ),
        ),
        bounded_by=_name_bounds(sustained),
        figures={
            "acknowledged_events": acknowledged,
            "capacity_events_per_second": [round(each, 1) for each in capacities],
            "bare_psycopg": asdict(bare),
            "ratio_to_bare_psycopg": capacity.median / bare.events_per_second,
            "sustained": [asdict(each) for each in sustained],
        },
    )


def _compare(capacity: float, bare: BareRun) -> str:
    cpu = sum(bare.cpu_seconds_per_million.values())
    return (
        f"Bare psycopg, one connection a shard, 1,000 events at once: {bare.events_per_second:,.0f} events/s for "
        f"{cpu:.2f} CPU s a million; the capacity is {capacity / bare.events_per_second:.2f} times that."
    )


def _draw(sustained: Sequence[Sustained], name: str, read: Callable[[Sustained], float]) -> Series:
    return Series(name, tuple((each.accepted_per_second, read(each)) for each in sustained))


def _describe_sustained(each: Sustained) -> tuple[str, ...]:
    return (
        f"{each.share:.0%}",
        f"{each.accepted_per_second:,.0f}",
        f"{each.queryable_per_second:,.0f}",
        f"{each.post_p99_ms:,.0f}",
        f"{each.freshness_p50_seconds:.2f}",
        f"{each.freshness_p99_seconds:.2f}",
        f"{each.freshness_max_seconds:.2f}",
        f"{each.event_count / each.flush_count:,.0f}",
        f"{each.flushes_per_second:,.1f}",
    )


def _describe_cpu(sustained: Sequence[Sustained]) -> ReportTable:
    def describe(label: str, components: Collection[str]) -> tuple[str, ...]:
        sums = (sum(each.cpu_seconds_per_million[name] for name in components) for each in sustained)
        return (label, *(f"{seconds:.2f}" for seconds in sums))

    components = list(sustained[0].cpu_seconds_per_million)
    rows = (
        *(describe(name, [name]) for name in components),
        describe(" + ".join(FLUSHING), FLUSHING),
        describe("all", components),
    )
    columns = ("", *(f"at {each.share:.0%}" for each in sustained))
    return ReportTable("CPU, seconds a million events", columns, rows, ("Workers: with their pull processes.",))


def _name_bounds(sustained: Sequence[Sustained]) -> tuple[str, ...]:
    last = sustained[-1]
    total = sum(last.cpu_seconds_per_million.values())
    used = total * last.accepted_per_second / 1e6
    return (
        f"CPU: {total:.1f} s a million events, {last.cpu_seconds_per_million['load generator']:.2f} of them for the "
        f"load generator; at {last.accepted_per_second:,.0f} events/s that is the work of {used:.1f} cores.",
        "Freshness at half load: pull processes wait at the log, and begin two flushes of a shard at least "
        "`VIEWCOUNTER_DRAIN_LINGER_SECONDS` apart.",
    )

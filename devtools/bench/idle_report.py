"""Figures of part `idle` and their report. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from devtools.bench.report import PartReport, ReportTable, Spread

MEBIBYTE = 1024 * 1024
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class MemberCost:
    """Cost of one member of an idle cluster, all its processes together. `pss_bytes`: of shared pages its share."""

    is_server: bool
    process_count: int
    cpu_seconds_a_minute: float
    pss_bytes: int


def describe_idle(
    name: str, title: str, rounds: Sequence[dict[str, MemberCost]], log_bytes_a_day: Sequence[float]
) -> PartReport:
    """`rounds`: costs by member; every round has the same members."""
    rows = [_describe(member, [[costs[member]] for costs in rounds]) for member in rounds[0]]
    everything = [list(costs.values()) for costs in rounds]
    sums = [
        _describe("all of viewcounter", [[cost for cost in costs if not cost.is_server] for costs in everything]),
        _describe("all servers", [[cost for cost in costs if cost.is_server] for costs in everything]),
        _describe("everything", everything),
    ]
    total = Spread.of([_add_cpu(costs) for costs in everything])
    logged = Spread.of([size / MEGABYTE for size in log_bytes_a_day])
    return PartReport(
        name=name,
        title=title,
        tables=(
            ReportTable(
                "An idle cluster",
                ("", "processes", "CPU, s a minute", "PSS, MiB"),
                (*rows, *sums),
                (f"Logged: {logged.describe(',.2f')} MB a day at this rate, by all of them together.",),
            ),
        ),
        plots=(),
        bounded_by=(f"Periodic work: {total.median / 60:.1%} of a core, whatever the number of events.",),
        figures={
            "rounds": [{member: asdict(cost) for member, cost in costs.items()} for costs in rounds],
            "log_bytes_a_day": [round(size) for size in log_bytes_a_day],
        },
    )


def _describe(name: str, rounds: Sequence[Sequence[MemberCost]]) -> tuple[str, ...]:
    """A row: of each figure the spread over the rounds, each the sum of some members."""
    return (
        name,
        Spread.of([sum(cost.process_count for cost in costs) for costs in rounds]).describe(),
        Spread.of([_add_cpu(costs) for costs in rounds]).describe(".2f"),
        Spread.of([sum(cost.pss_bytes for cost in costs) / MEBIBYTE for costs in rounds]).describe(),
    )


def _add_cpu(costs: Sequence[MemberCost]) -> float:
    return sum(cost.cpu_seconds_a_minute for cost in costs)

"""The report as Markdown tables."""

from collections.abc import Iterable, Iterator

from devtools.bench.report import BenchReport, PartReport, ReportTable
from devtools.bench.terminal import describe_machine, describe_options


def render_markdown(report: BenchReport) -> str:
    lines = [
        f"{report.measured_at:%Y-%m-%d}: {describe_machine(report.machine)}; {describe_options(report.options)}.",
        *(line for part in report.parts for line in _render_part(part)),
    ]
    return "\n".join(lines) + "\n"


def _render_part(part: PartReport) -> Iterator[str]:
    yield from ("", f"## {part.name}: {part.title}")
    for table in part.tables:
        yield from ("", f"### {table.title}", "")
        yield from _render_table(table)
        for note in table.notes:
            yield from ("", note)
    for text in part.bounded_by:
        yield from ("", f"What bounds it: {text}")


def _render_table(table: ReportTable) -> Iterator[str]:
    yield _render_row(table.columns)
    yield _render_row(["---", *("---:" for _ in table.columns[1:])])
    for row in table.rows:
        yield _render_row(row)


def _render_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

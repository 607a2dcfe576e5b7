"""The report as one self-contained HTML page."""

from collections.abc import Iterable
from html import escape

from devtools.bench.plots import draw_plot
from devtools.bench.report import BenchReport, PartReport, ReportTable
from devtools.bench.terminal import describe_machine, describe_options
from devtools.html_page import render_document, render_table


def render_page(report: BenchReport) -> str:
    """Self-contained; every text is escaped."""
    head = (
        f"<h1>viewcounter benchmark, {report.measured_at:%Y-%m-%d %H:%M} UTC</h1>"
        f"{_render_notes([describe_machine(report.machine), describe_options(report.options)])}"
        f'<p class="note">Median of the rounds, lowest and highest behind it. Take ratios of one run before figures of '
        f"two.</p>"
    )
    return render_document("viewcounter benchmark", [head, *(_render_part(part) for part in report.parts)])


def _render_part(part: PartReport) -> str:
    plots = "".join(draw_plot(plot) for plot in part.plots)
    return "".join(
        [
            f"<h2>{escape(part.name)}: {escape(part.title)}</h2>",
            *(_render_table(table) for table in part.tables),
            f'<div class="plots">{plots}</div>' if plots else "",
            _render_notes(f"What bounds it: {text}" for text in part.bounded_by),
            f'<p class="note">took {part.seconds:.0f} s</p>',
        ]
    )


def _render_table(table: ReportTable) -> str:
    return f"<h3>{escape(table.title)}</h3>{render_table(table.columns, table.rows, numbers_from=1)}" + _render_notes(
        table.notes
    )


def _render_notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)

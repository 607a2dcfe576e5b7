"""The report as tables of a terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from devtools.bench.report import BenchReport, Machine, PartReport, ReportTable

GIBIBYTE = 1024**3
WIDE_COLUMNS = 6
"""In wider tables the ends of a spread are printed below its median."""


def print_report(report: BenchReport, console: Console) -> None:
    for part in report.parts:
        _print_part(part, console)
    _say(console, "")
    _say(console, describe_machine(report.machine))
    _say(console, describe_options(report.options))


def describe_machine(machine: Machine) -> str:
    return (
        f"{machine.cores} cores ({machine.cpu_model}), {machine.memory_bytes / GIBIBYTE:.0f} GiB, {machine.kernel}, "
        f"Python {machine.python}, {machine.postgresql}, {machine.valkey}"
    )


def describe_options(options: dict[str, Any]) -> str:
    return "options: " + ", ".join(f"{name} {value}" for name, value in options.items())


def _print_part(part: PartReport, console: Console) -> None:
    _say(console, f"\n{part.name}: {part.title} ({part.seconds:.0f} s)")
    for table in part.tables:
        _print_table(table, console)
    for text in part.bounded_by:
        _say(console, f"  bounded by: {text}")


def _print_table(table: ReportTable, console: Console) -> None:
    drawn = RichTable(title=table.title, title_justify="left", title_style="italic", box=box.SIMPLE_HEAD)
    for number, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if number else "left", overflow="fold")
    is_wide = len(table.columns) > WIDE_COLUMNS
    for row in table.rows:
        drawn.add_row(*(cell.replace(" (", "\n(") if is_wide else cell for cell in row))
    console.print(drawn, highlight=False, markup=False)
    for note in table.notes:
        _say(console, f"  {note}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

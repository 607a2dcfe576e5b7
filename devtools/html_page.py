"""Common parts of the HTML reports: one self-contained file, with drawings as inline SVG.

A charting library would need a remote script, or megabytes of one, for a few marks and lines. Every text is escaped
here or where it is inserted into a drawing.
"""

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1120px;padding:0 1rem;color:#1d2433}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}h3{font-size:1rem;margin-bottom:.3rem}
table{border-collapse:collapse;width:100%}td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #e3e6ec}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.held{color:#0a6b3d}.broken{color:#b3261e}svg{width:100%;height:auto}
.plots{display:grid;grid-template-columns:1fr 1fr;gap:1rem}figure{margin:0}figcaption{font-weight:600}
.note{color:#4a5366;margin:.3rem 0}
svg text{font:11px system-ui,sans-serif;fill:#4a5366}
"""


def render_document(title: str, parts: Iterable[str]) -> str:
    """`parts` are HTML; the title is text."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return "".join([head, *parts, "</html>"])


def render_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int | None = None) -> str:
    """`numbers_from`: the first of the columns, up to the last, that are aligned as numbers are."""

    def render_row(tag: str, cells: Sequence[str]) -> str:
        return (
            "<tr>"
            + "".join(f"<{tag}{_mark(i, numbers_from)}>{escape(c)}</{tag}>" for i, c in enumerate(cells))
            + "</tr>"
        )

    return f"<table>{render_row('th', columns)}{''.join(render_row('td', row) for row in rows)}</table>"


def _mark(column: int, numbers_from: int | None) -> str:
    return "" if numbers_from is None or column < numbers_from else ' class="n"'

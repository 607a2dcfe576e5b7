"""The time line of a drill as one self-contained HTML page with inline SVG."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from math import log10

from devtools.drill.attempts import Second
from devtools.drill.report import ClientReport, DrillReport, IncidentReport
from devtools.html_page import render_document, render_table

WIDTH = 1100
LEFT = 190
ROW = 18
CHART = 110
LATENCY_FLOOR_MS = 1.0
LATENCY_TOP_MS = 10_000.0


def render_page(report: DrillReport) -> str:
    """All texts from outside are escaped."""
    scale = _Scale(max(1.0, report.load_seconds))
    verdict = "The guarantee held" if report.has_held else "The guarantee did not hold"
    return render_document(
        "viewcounter drill",
        [
            f"<h1>Fault drill, seed {report.seed}: ",
            f'<span class="{"held" if report.has_held else "broken"}">{verdict}</span></h1>',
            f"<p>{report.acknowledged:,} events acknowledged in {report.load_seconds:.0f} s of load, ",
            f"{report.duplicates_sent:,} sent again, {report.refused:,} refused, {report.poison} dead letters.</p>",
            f"<p>{escape(report.losses.text)}</p>" if report.losses.text else "",
            _render_violations(report.violations),
            "<h2>What happened</h2>", _draw_incidents(report.incidents, scale),
            "<h2>What clients saw: posts</h2>", _describe_client(report.posts),
            _draw_seconds(report.post_seconds, scale),
            "<h2>What clients saw: reads</h2>", _describe_client(report.reads),
            _draw_seconds(report.read_seconds, scale),
            "<h2>Faults</h2>", _render_incidents(report.incidents),
        ],
    )  # fmt: skip


class _Scale:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def x(self, seconds: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 10) * min(seconds, self.seconds) / self.seconds, 1)

    def list_ticks(self) -> Iterator[int]:
        step = next((s for s in (5, 10, 30, 60, 300) if self.seconds / s <= 16), 1800)
        yield from range(0, int(self.seconds) + 1, step)


def _render_violations(violations: Iterable[str]) -> str:
    lines = "".join(f"<li>{escape(text)}</li>" for text in violations)
    return f'<ul class="broken">{lines}</ul>' if lines else ""


def _draw_incidents(incidents: Sequence[IncidentReport], scale: _Scale) -> str:
    marks = []
    for row, incident in enumerate(incidents):
        top = row * ROW + 4
        begin = scale.x(incident.struck_seconds)
        end = scale.x(scale.seconds if incident.healed_seconds is None else incident.healed_seconds)
        color = "#b3261e" if incident.error else "#e08a00"
        said = f"{incident.kind} on {incident.victim}, {incident.struck_seconds:.1f} s"
        marks.append(
            f'<text x="{LEFT - 8}" y="{top + 10}" text-anchor="end">{escape(incident.kind)}</text>'
            f'<rect x="{begin}" y="{top}" width="{max(2.0, round(end - begin, 1))}" height="{ROW - 6}" rx="2" '
            f'fill="{color}"><title>{escape(said)}</title></rect>'
        )
    return _wrap("".join(marks), height=len(incidents) * ROW + 4, scale=scale)


def _draw_seconds(seconds: Sequence[Second], scale: _Scale) -> str:
    """Bars: requests that ended in each second, failed ones red. Line: their p99, logarithmic."""
    top_count = max((s.fine + s.failed for s in seconds), default=1) or 1
    width = max(1.0, round(scale.x(1) - scale.x(0) - 0.5, 1))
    bars = []
    for s in seconds:
        for count, below, color in ((s.fine, 0, "#bcd3ee"), (s.failed, s.fine, "#d94841")):
            if count:
                height, base = CHART * count / top_count, CHART * below / top_count
                bars.append(
                    f'<rect x="{scale.x(s.second)}" y="{CHART - base - height:.1f}" width="{width}" '
                    f'height="{height:.1f}" fill="{color}"><title>{s.second} s: {s.fine} good, {s.failed} failed'
                    f"</title></rect>"
                )
    points = " ".join(f"{scale.x(s.second + 0.5)},{_place(s.p99_ms):.1f}" for s in seconds if s.p99_ms is not None)
    legend = (
        f'<text x="4" y="12">up to {top_count} a second</text><text x="4" y="28">red: failed</text>'
        f'<text x="4" y="44">line: p99, 1 ms to 10 s</text>'
    )
    line = f'<polyline points="{points}" fill="none" stroke="#1d4e89" stroke-width="1.3"/>'
    return _wrap("".join(bars) + line + legend, height=CHART, scale=scale)


def _place(milliseconds: float) -> float:
    """Position on a logarithmic axis of height CHART, the slowest at the top."""
    share = log10(max(milliseconds, LATENCY_FLOOR_MS) / LATENCY_FLOOR_MS) / log10(LATENCY_TOP_MS / LATENCY_FLOOR_MS)
    return CHART * (1 - min(1.0, share))


def _wrap(marks: str, *, height: int, scale: _Scale) -> str:
    ticks = "".join(
        f'<line x1="{scale.x(t)}" x2="{scale.x(t)}" y1="0" y2="{height}" stroke="#e3e6ec"/>'
        f'<text x="{scale.x(t)}" y="{height + 14}" text-anchor="middle">{t} s</text>'
        for t in scale.list_ticks()
    )
    return f'<svg viewBox="0 0 {WIDTH} {height + 20}" role="img">{ticks}{marks}</svg>'


def _describe_client(client: ClientReport) -> str:
    answers = ", ".join(f"{count:,} x {escape(name)}" for name, count in sorted(client.answers.items()))
    latency = "".join(
        f", {name} {value:,.0f} ms"
        for name, value in (("p50", client.p50_ms), ("p99", client.p99_ms), ("worst", client.worst_ms))
        if value is not None
    )
    return f"<p>{answers}{latency}</p>"


def describe_whole(incident: IncidentReport) -> str:
    if incident.healed_seconds is None:
        return "never"
    return f"{incident.healed_seconds - incident.struck_seconds:.1f} s"


def describe_written(incident: IncidentReport) -> str:
    return "" if incident.written_again_seconds is None else f"{incident.written_again_seconds:.2f} s"


def _render_incidents(incidents: Iterable[IncidentReport]) -> str:
    columns: tuple[tuple[str, Callable[[IncidentReport], str]], ...] = (
        ("at", lambda i: f"{i.struck_seconds:.1f} s"),
        ("fault", lambda i: i.kind),
        ("on", lambda i: i.victim),
        ("whole after", describe_whole),
        ("written after", describe_written),
        ("failed posts", lambda i: str(i.failed_posts)),
        ("failed reads", lambda i: str(i.failed_reads)),
        ("", lambda i: i.error),
    )
    return render_table([name for name, _ in columns], [[text(i) for _, text in columns] for i in incidents])

"""Charts as SVG: bars with an axis, and sparklines. Pure; no scripts and no styles, so that no policy forbids them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 720, 200
LEFT, BOTTOM, TOP = 48, 20, 16
SPARK_WIDTH, SPARK_HEIGHT = 120, 24
LABELS_MAX = 6
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """`label` is of the axis, `title` of the tooltip."""

    label: str
    title: str
    value: float


def draw_bars(bars: Sequence[Bar], *, before: Sequence[float] = (), title: str) -> SafeString:
    """`before`: the values of the period before, drawn as a line behind the bars."""
    top = find_round_top(max([bar.value for bar in bars] + list(before), default=0))
    plot_height, step = HEIGHT - BOTTOM - TOP, (WIDTH - LEFT) / max(1, len(bars))

    def find_y(value: float) -> float:
        return round(TOP + plot_height * (1 - value / top), 1)

    drawn = format_html_join(
        "",
        '<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        (
            (
                round(LEFT + index * step + step * 0.1, 1),
                find_y(bar.value),
                round(step * 0.8, 1),
                round(find_y(0) - find_y(bar.value), 1),
                bar.title,
            )
            for index, bar in enumerate(bars)
        ),
    )
    every = max(1, math.ceil(len(bars) / LABELS_MAX))
    labels = format_html_join(
        "",
        '<text class="tick" x="{}" y="{}">{}</text>',
        ((round(LEFT + i * step, 1), HEIGHT - 4, bar.label) for i, bar in enumerate(bars) if i % every == 0),
    )
    lines = format_html_join(
        "",
        '<path class="grid" d="M{} {}H{}"/><text class="tick end" x="{}" y="{}">{}</text>',
        ((LEFT, find_y(part), WIDTH, LEFT - 6, find_y(part) + 4, format_number(part)) for part in (0, top / 2, top)),
    )
    points = " ".join(f"{LEFT + (i + 0.5) * step:.1f},{find_y(value)}" for i, value in enumerate(before))
    line = format_html('<polyline class="before" points="{}"/>', points) if points else ""
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>',
        WIDTH, HEIGHT, title, lines, drawn, line, labels,
    )  # fmt: skip


def draw_sparkline(values: Sequence[float], *, title: str) -> SafeString:
    top, step = max([*values, 1]), SPARK_WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{index * step:.1f},{1 + (SPARK_HEIGHT - 2) * (1 - value / top):.1f}" for index, value in enumerate(values)
    )
    return format_html(
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><polyline points="{}"/></svg>',
        SPARK_WIDTH, SPARK_HEIGHT, title, points,
    )  # fmt: skip


def find_round_top(highest: float) -> float:
    """A round number that is no less, and even enough to be halved on the axis."""
    if highest <= 2:
        return 2
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in _STEPS if step * power >= highest)


def format_number(value: float | None) -> str:
    """With separators of thousands, and decimals only where there are any."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"

"""Plots as inline SVG: lines through points on linear or logarithmic axes; hovering shows the values of a point."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from devtools.bench.report import Plot, Series

WIDTH, HEIGHT = 540, 330
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 66
MOST_TICKS = 8
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f3fbf", "#5b5b5b")
"""Distinguishable with colour blindness."""


def draw_plot(plot: Plot) -> str:
    """A figure with its title. Says so when there is no point to draw."""
    title = f"<figcaption>{escape(plot.title)}</figcaption>"
    series = [_keep_drawable(each, plot) for each in plot.series]
    points = [point for each in series for point in each.points]
    if not points:
        return f'<figure>{title}<p class="note">nothing to draw</p></figure>'
    x = build_axis([p[0] for p in points], log=plot.x_log, start=LEFT, end=WIDTH - RIGHT, own_ticks=plot.x_log)
    y = build_axis([p[1] for p in points], log=plot.y_log, start=HEIGHT - BOTTOM, end=TOP)
    lines = "".join(_draw_series(each, x, y, _COLORS[n % len(_COLORS)]) for n, each in enumerate(series))
    body = _draw_x_axis(x, plot.x_label) + _draw_y_axis(y, plot.y_label) + lines + _draw_legend(series)
    return f'<figure>{title}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{body}</svg></figure>'


@dataclass(frozen=True, slots=True)
class Axis:
    """`place` gives pixels for a value; `ticks` are values."""

    ticks: tuple[float, ...]
    place: Callable[[float], float]


def build_axis(values: Sequence[float], *, log: bool, start: float, end: float, own_ticks: bool = False) -> Axis:
    """Long enough for all values. A linear one begins at 0 unless there are negative ones; `own_ticks` stand at the
    values themselves if they are few."""
    low, high = min(values), max(values)
    distinct = sorted(set(values))
    if log:
        ticks = list_log_ticks(low, high)
        low, high = ticks[0], ticks[-1]
        convert: Callable[[float], float] = math.log10
    else:
        ticks = list_linear_ticks(min(0.0, low), high)
        low, high = ticks[0], ticks[-1]
        convert = float
    if own_ticks and len(distinct) <= MOST_TICKS:
        ticks = tuple(distinct)
        low, high = (ticks[0], ticks[-1]) if len(ticks) > 1 else (low, high)
    base, span = convert(low), convert(high) - convert(low)
    return Axis(ticks, lambda value: round(start + (end - start) * (convert(value) - base) / span, 1))


def list_linear_ticks(low: float, high: float) -> tuple[float, ...]:
    """Steps of 1, 2 or 5 times a power of ten, the first at or below `low`, the last at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(round(number * step, 12) for number in range(first, max(last, first + 1) + 1))


def list_log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten around values above 0; with 2 and 5 between them while that is few enough."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    if last - first > 2:
        step = math.ceil((last - first) / MOST_TICKS)
        return tuple(10.0**power for power in range(first, last + step, step))
    fine = [factor * 10.0**power for power in range(first, last) for factor in (1, 2, 5)] + [10.0**last]
    begin = max(n for n, tick in enumerate(fine) if tick <= low or n == 0)
    end = min(n for n, tick in enumerate(fine) if tick >= high or n == len(fine) - 1)
    return tuple(fine[begin : max(end, begin + 1) + 1])


def format_tick(value: float) -> str:
    """`0.5`, `250`, `20k`, `1.5M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _keep_drawable(series: Series, plot: Plot) -> Series:
    points = tuple(p for p in series.points if (p[0] > 0 or not plot.x_log) and (p[1] > 0 or not plot.y_log))
    return Series(series.name, points)


def _draw_x_axis(x: Axis, label: str) -> str:
    bottom = HEIGHT - BOTTOM
    ticks = "".join(
        f'<line x1="{x.place(t)}" x2="{x.place(t)}" y1="{TOP}" y2="{bottom}" stroke="#e3e6ec"/>'
        f'<text x="{x.place(t)}" y="{bottom + 14}" text-anchor="middle">{format_tick(t)}</text>'
        for t in x.ticks
    )
    return (
        f'{ticks}<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 30}" text-anchor="middle">{escape(label)}</text>'
    )


def _draw_y_axis(y: Axis, label: str) -> str:
    ticks = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.place(t)}" y2="{y.place(t)}" stroke="#e3e6ec"/>'
        f'<text x="{LEFT - 6}" y="{y.place(t) + 4}" text-anchor="end">{format_tick(t)}</text>'
        for t in y.ticks
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'
    return ticks + turned


def _draw_series(series: Series, x: Axis, y: Axis, color: str) -> str:
    places = [(x.place(p[0]), y.place(p[1]), p) for p in series.points]
    line = " ".join(f"{left},{top}" for left, top, _ in places)
    marks = "".join(
        f'<circle cx="{left}" cy="{top}" r="3" fill="{color}">'
        f"<title>{escape(series.name)}: {point[0]:,.6g}, {point[1]:,.6g}</title></circle>"
        for left, top, point in places
    )
    return f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.6"/>{marks}'


def _draw_legend(series: Sequence[Series]) -> str:
    """In two rows at most, below the axis."""
    a_row = max(1, math.ceil(len(series) / 2)) if len(series) > 3 else max(1, len(series))
    width = (WIDTH - LEFT - RIGHT) / a_row
    parts = []
    for number, each in enumerate(series):
        left, top = LEFT + width * (number % a_row), HEIGHT - 22 + 14 * (number // a_row)
        parts.append(
            f'<rect x="{left:.0f}" y="{top - 8}" width="10" height="8" fill="{_COLORS[number % len(_COLORS)]}"/>'
            f'<text x="{left + 14:.0f}" y="{top}">{escape(each.name)}</text>'
        )
    return "".join(parts)

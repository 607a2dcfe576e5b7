"""What the pages show, from `queries`: each figure by itself, so that one that cannot be answered costs no other."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from runtime.errors import Permanent, Retryable
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.pages.charts import Bar, draw_bars, draw_sparkline, format_number
from viewcounter.pages.spans import Span
from viewcounter.queries.comparing import subtract
from viewcounter.queries.counts import get_channel_counts, get_counts
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Function, Number
from viewcounter.queries.periods import Bucket, Fill
from viewcounter.queries.ranges import Interval, Period, floor_to
from viewcounter.queries.sketched import SketchFunction, StatsFunction
from viewcounter.queries.stats import StatsAnswer, StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget, TargetKind
from viewcounter.queries.zones import get_zone

logger = logging.getLogger(__name__)

T = TypeVar("T")

MINUTE = timedelta(minutes=1)
_LIVE = (
    ("Last 60 minutes", timedelta(minutes=60), MINUTE, Interval.MINUTE, "%H:%M"),
    ("Last 48 hours", timedelta(hours=48), timedelta(hours=1), Interval.HOUR, "%a %H:%M"),
)


@dataclass(frozen=True, slots=True)
class Trend:
    """Against the period before. `direction` is `up`, `down` or empty."""

    text: str = ""
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    value: str
    change: Trend = Trend()


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart with what stands above it."""

    name: str
    value: str
    drawing: str
    period: str = ""
    change: Trend = Trend()


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reader has chosen; `zone_name` cuts days."""

    event_type: str
    span: Span
    zone_name: str
    search: str = ""


def ask(
    target: StatsTarget,
    event_type: str,
    function: StatsFunction,
    period: Period,
    *,
    now: datetime,
    interval: Interval | None = None,
    zone_name: str = "UTC",
) -> StatsAnswer:
    """Raises what `get_stats` raises."""
    query = StatsQuery(target, event_type, function, period, interval=interval, fill=Fill.ZERO, zone_name=zone_name)
    config = get_config()
    return get_stats(
        get_cluster(),
        query,
        max_buckets=config.api.stats_max_buckets,
        now=now,
        cache=find_read_cache(),
        limits=config.sketch_read,
    )


def read_halves(target: StatsTarget, choice: Choice, *, now: datetime) -> tuple[list[Bucket], list[Bucket]]:
    """Counts by bar of the period and of the one before, in one read. Raises what `get_stats` raises."""
    period, before = choice.span.plan(now=now, zone=get_zone(choice.zone_name))
    whole = Period(before.start, period.end)
    answer = ask(
        target,
        choice.event_type,
        Function.COUNT,
        whole,
        now=now,
        interval=choice.span.interval,
        zone_name=choice.zone_name,
    )
    middle = period.start
    series = answer.series or ()
    halves = ([b for b in series if b.start >= middle], [b for b in series if b.start < middle])  # type: ignore[operator]
    return join_bars(halves[0], size=choice.span.group), join_bars(halves[1], size=choice.span.group)


def join_bars(series: Sequence[Bucket], *, size: int) -> list[Bucket]:
    """Each `size` buckets as one; the last may have fewer."""
    parts = (series[start : start + size] for start in range(0, len(series), size))
    return [Bucket(part[0].start, sum(bucket.value or 0 for bucket in part)) for part in parts]


def draw_period(target: StatsTarget, choice: Choice, *, now: datetime) -> Drawing:
    """Raises what `get_stats` raises."""
    zone = get_zone(choice.zone_name)
    bars, before = read_halves(target, choice, now=now)
    period, _ = choice.span.plan(now=now, zone=zone)
    pattern = "%H:%M" if choice.span.name == "24h" else "%d %b"
    value, previous = (sum(bar.value or 0 for bar in part) for part in (bars, before))
    title = f"{choice.event_type}, {choice.span.label}"
    start, end = (f"{edge.astimezone(zone):%Y-%m-%d %H:%M}" for edge in (period.start, period.end) if edge is not None)
    return Drawing(
        name=choice.event_type,
        value=format_number(value),
        drawing=draw_bars(
            [_make_bar(bar, pattern) for bar in bars], before=[bar.value or 0 for bar in before], title=title
        ),
        period=f"{start} to {end}",
        change=describe_change(value, previous),
    )


def draw_live(target: StatsTarget, event_type: str, *, zone_name: str, now: datetime) -> list[Drawing]:
    """The last hour and the last two days; a part that cannot be read is left out."""
    drawn = []
    for name, length, width, interval, pattern in _LIVE:
        end = floor_to(now.astimezone(UTC), width) + width
        period = Period(end - length, end)
        answer = attempt(
            partial(ask, target, event_type, Function.COUNT, period, now=now, interval=interval, zone_name=zone_name)
        )
        if answer is not None and answer.series is not None:
            bars = [_make_bar(bucket, pattern) for bucket in answer.series]
            drawn.append(Drawing(name, format_number(answer.value), draw_bars(bars, title=f"{event_type}, {name}")))
    return drawn


def list_figures(target: StatsTarget, choice: Choice, types: Mapping[str, bool], *, now: datetime) -> list[Card]:
    """Every event type, viewers, and of types with values (`types`: name to whether it has) sum and percentiles."""
    figures: list[tuple[str, str, StatsFunction]] = [(name, name, Function.COUNT) for name in types]
    figures.append((f"viewers ({choice.event_type})", choice.event_type, SketchFunction.UNIQUE_VIEWERS))
    for name in (name for name, is_valued in types.items() if is_valued):
        figures += [
            (f"{name}, sum", name, Function.SUM),
            (f"{name}, average", name, Function.AVERAGE),
            (f"{name}, median", name, SketchFunction.P50),
            (f"{name}, 90th percentile", name, SketchFunction.P90),
        ]
    period, before = choice.span.plan(now=now, zone=get_zone(choice.zone_name))
    cards = []
    for label, event_type, function in figures:
        answer = attempt(partial(ask, target, event_type, function, period, now=now))
        earlier = attempt(partial(ask, target, event_type, function, before, now=now))
        value = None if answer is None else answer.value
        change = describe_change(value, None if earlier is None else earlier.value)
        cards.append(Card(label, format_number(value), change))
    return cards


def read_totals(target: StatsTarget, *, now: datetime) -> tuple[dict[str, int], bool]:
    """Counts over all time, and whether the target is known. Raises what the query raises."""
    if target.kind is TargetKind.CHANNEL:
        channel = get_channel_counts(get_cluster(), channel_id=target.id, now=now, cache=find_read_cache())
        return dict(channel.counts), True
    video = get_counts(get_cluster(), video_id=target.id, now=now, cache=find_read_cache()).video
    return dict(video.counts), video.is_known


def describe_row(target: StatsTarget, choice: Choice, *, now: datetime) -> tuple[str, str, Trend]:
    """Sparkline, value of the period, change; empty where they cannot be read."""
    halves = attempt(partial(read_halves, target, choice, now=now))
    if halves is None:
        return "", format_number(None), Trend()
    values, before = ([bucket.value or 0 for bucket in half] for half in halves)
    sparkline = draw_sparkline(values, title=f"{choice.event_type}, {choice.span.label}")
    return sparkline, format_number(sum(values)), describe_change(sum(values), sum(before))


def describe_change(value: Number | None, before: Number | None) -> Trend:
    difference = subtract(value, before)
    if not difference.delta:
        return Trend("±0 %" if value else "")
    direction = "up" if difference.delta > 0 else "down"
    if difference.ratio is None:
        return Trend("new", direction)
    return Trend(f"{(difference.ratio - 1) * 100:+,.0f} %", direction)


def attempt(call: Callable[[], T]) -> T | None:
    """None where the figure cannot be answered now, or not for this period; faults are raised."""
    return explain(call)[0]


def explain(call: Callable[[], T]) -> tuple[T | None, str]:
    """With the reason, for people, where there is no answer."""
    try:
        return call(), ""
    except InvalidQuery as error:
        return None, f"There is no answer for this period: {error.message}."
    except Exception as error:
        if not isinstance(error, Retryable | Permanent):
            raise
        logger.warning("a figure of a page cannot be read: %s", error)
        return None, "The shards do not answer right now; try again in a moment."


def _make_bar(bucket: Bucket, pattern: str) -> Bar:
    value = bucket.value or 0
    return Bar(f"{bucket.start:{pattern}}", f"{bucket.start:%Y-%m-%d %H:%M}: {format_number(value)}", value)

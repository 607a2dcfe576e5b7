"""Functions over sketches: their meaning, their error bounds, and the merging of rows that were read. Pure.

The answer for a period is that of the union of all its sketches and raw events, never a sum of estimates. Every event
that is counted in the period is in it, or there is no answer: `condense` compares the events read with those counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from fractions import Fraction
from typing import Any

from configservice.topology.model import EventType, Topology
from viewcounter.cache.read_cache import Rows
from viewcounter.events.message import VALUE_SCALE
from viewcounter.queries.errors import InvalidQuery, SketchesBehind
from viewcounter.queries.functions import Function, Number
from viewcounter.queries.meta import Source
from viewcounter.queries.periods import PeriodPlan
from viewcounter.queries.resolution import check_resolution
from viewcounter.queries.settings import SketchLimits
from viewcounter.queries.tiers import find_tiers
from viewcounter.storage.ranges import Horizon
from viewcounter.storage.sketch_bytes import (
    QUANTILES_K,
    QUANTILES_RANK_ERROR,
    VIEWERS_LG_K,
    VIEWERS_RELATIVE_STANDARD_ERROR,
    estimate_viewers,
    get_quantile,
    merge_quantiles,
    merge_viewers,
)


class SketchFunction(StrEnum):
    """Percentiles are nearest ranks: the least value that at least p percent of all values do not exceed."""

    UNIQUE_VIEWERS = "unique_viewers"
    P50 = "p50"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"

    @property
    def rank(self) -> float | None:
        """None for the one that is no percentile."""
        return _RANKS.get(self)

    @property
    def is_of_viewers(self) -> bool:
        return self is SketchFunction.UNIQUE_VIEWERS


_RANKS = {SketchFunction.P50: 0.5, SketchFunction.P90: 0.9, SketchFunction.P95: 0.95, SketchFunction.P99: 0.99}

StatsFunction = Function | SketchFunction


@dataclass(frozen=True, slots=True)
class Sketched:
    """`sketches` by index of the bucket, those with events; without an interval the whole period is bucket 0."""

    sketches: Mapping[int, bytes]
    sources: frozenset[Source]


def parse_stats_function(text: str) -> StatsFunction:
    """Raises InvalidQuery."""
    for kind in (Function, SketchFunction):
        if text in set(kind):
            return kind(text)
    allowed = ", ".join([*Function, *SketchFunction])
    raise InvalidQuery("function", "unknown_function", f"must be one of: {allowed}")


def check_values(function: SketchFunction, event_type: EventType, topology: Topology) -> None:
    """Raises InvalidQuery for a percentile of a type whose events carry no values."""
    if function.rank is not None and not event_type.valued:
        valued = ", ".join(t.name for t in topology.event_types if t.valued) or "none"
        message = f"{function} is of values, which {event_type.name} events have none of; types with values: {valued}"
        raise InvalidQuery("function", "no_values", message)


def describe_error(function: SketchFunction) -> dict[str, dict[str, float]]:
    """The error bounds of a function, for the answer's meta."""
    if function.is_of_viewers:
        return {function.value: {"relative_standard_error": VIEWERS_RELATIVE_STANDARD_ERROR, "lg_k": VIEWERS_LG_K}}
    return {function.value: {"rank_error": QUANTILES_RANK_ERROR, "k": QUANTILES_K}}


def condense(rows: Rows, *, of_viewers: bool, limits: SketchLimits) -> Rows:
    """A row for each partition and bucket, with one sketch (`data`, empty for none) and `sources`; at least one each.

    Raises InvalidQuery where raw events that are in no sketch are gone, or too many; SketchesBehind where those of
    closed hours are; UnreadableSketch.
    """
    for row in rows:
        _check_bounds(row, limits)
    _check_complete(rows)
    groups: dict[tuple[int, int | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["partition"], row["bucket"]), []).append(row)
    return [_merge_rows(group, of_viewers=of_viewers) for group in groups.values()]


def _merge_rows(group: Rows, *, of_viewers: bool) -> dict[str, Any]:
    raw = [row["data"] for row in group if row["source"] == Source.RAW and row["data"]]
    sketches = [row["data"] for row in group if row["source"] != Source.RAW and row["data"]]
    merge = merge_viewers if of_viewers else merge_quantiles
    return {name: value for name, value in group[0].items() if name not in _READ_ONLY} | {
        "sources": sorted({row["source"] for row in group if row["source"]}),
        "data": merge(sketches, raw=raw),
    }


_READ_ONLY = frozenset(
    {"lost_day", "sketch_bytes", "open_events", "closed_events", "open_pieces", "piece_count", "source", "piece"}
    | {"events", "counted", "since", "data"}
)


def _check_bounds(row: Mapping[str, Any], limits: SketchLimits) -> None:
    if row["lost_day"] is not None:
        day = row["lost_day"].astimezone(UTC)
        message = f"events of {day:%Y-%m-%d} are in no sketch, and single events of that day have expired"
        raise InvalidQuery("start_time", "raw_expired", message)
    if row["sketch_bytes"] > limits.max_bytes:
        message = f"needs {row['sketch_bytes']} bytes of sketches, at most {limits.max_bytes}: use a shorter period"
        raise InvalidQuery("start_time", "too_many_sketches", message)
    if row["open_events"] > limits.max_events or row["open_pieces"] > limits.max_pieces:
        through = row["rolled_through"].astimezone(UTC)
        message = (
            f"needs {row['open_events']} single events from {row['open_pieces']} places, at most {limits.max_events} "
            f"from {limits.max_pieces}: use whole hours, up to {through:%Y-%m-%dT%H:%MZ}"
        )
        raise InvalidQuery("end_time", "too_many_raw_events", message)
    raw_events = row["open_events"] + row["closed_events"]
    if raw_events > limits.max_events or row["piece_count"] > limits.max_pieces:
        raise SketchesBehind(f"{raw_events} events in {row['piece_count']} pieces of time are in no sketch yet")


def _check_complete(rows: Iterable[Mapping[str, Any]]) -> None:
    missing: dict[tuple[int, int], int] = {}
    since: dict[tuple[int, int], Any] = {}
    for row in rows:
        if row["piece"] is not None:
            key = (row["partition"], row["piece"])
            missing[key] = missing.get(key, row["counted"]) - row["events"]
            since[key] = row["since"].astimezone(UTC)
    lost = [key for key, count in missing.items() if count > 0]
    if lost:
        first = min(since[key] for key in lost)
        message = (
            f"{sum(missing[key] for key in lost)} events, the first of them after {first:%Y-%m-%dT%H:%MZ}, are in no "
            "sketch, and have expired as single events"
        )
        raise InvalidQuery("start_time", "raw_expired", message)


def collect_sketches(rows: Iterable[Mapping[str, Any]], plan: PeriodPlan, *, of_viewers: bool) -> Sketched:
    """The condensed rows of all partitions, merged. Raises InvalidQuery if retention has deleted needed rows."""
    parts: dict[int, list[bytes]] = {}
    sources: set[Source] = set()
    planned: set[Source] = set()
    checked: set[int] = set()
    slices = plan.slices
    for row in rows:
        if row["partition"] not in checked:
            checked.add(row["partition"])
            horizon = Horizon.from_row(row)
            check_resolution(slices, horizon, period=plan.period, interval=plan.interval)
            planned |= {_SOURCES[tier.value] for tier in find_tiers(slices, horizon)}
        if row["bucket"] is not None:
            parts.setdefault(row["bucket"] - 1, []).append(row["data"])
            sources |= {Source(source) for source in row["sources"]}
    merge = merge_viewers if of_viewers else merge_quantiles
    united = {
        index: found[0] if len(found) == 1 else merge(data for data in found if data)
        for index, found in sorted(parts.items())
    }
    return Sketched(united, frozenset(sources or planned))


_SOURCES = {"day": Source.DAY, "hour": Source.HOUR, "minute": Source.RAW}


def evaluate_sketch(function: SketchFunction, sketch: bytes) -> Number | None:
    """The value as a client sees it. For an empty sketch: 0 viewers, no percentile."""
    if function.rank is None:
        return estimate_viewers(sketch)
    value = get_quantile(sketch, rank=function.rank)
    if value is None:
        return None
    exact = Fraction(value, VALUE_SCALE)
    return exact.numerator if exact.denominator == 1 else float(exact)


def evaluate_sketches(sketched: Sketched, function: SketchFunction) -> dict[int, Number | None]:
    """By index of the bucket."""
    return {index: evaluate_sketch(function, sketch) for index, sketch in sketched.sketches.items()}


def evaluate_union(sketched: Sketched, function: SketchFunction) -> Number | None:
    """Over the whole period."""
    merge = merge_viewers if function.is_of_viewers else merge_quantiles
    return evaluate_sketch(function, merge(sketch for sketch in sketched.sketches.values() if sketch))

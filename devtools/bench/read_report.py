"""The report of part `read`. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from devtools.bench.report import PartReport, Plot, ReportTable, Series, Spread

COUNTS_BY_DJANGO = "counts_django"
"""The same as others: no line of its own in a plot."""
_BOUNDS = (
    "Kept answers: the gateway's core, which the HTTP server keeps busy; those by Django, Django and DRF.",
    "Fresh counts and statistics: the gateway's core again, by Django and by building the answer; the shard looks up "
    "each slice by its key.",
    "Top lists: the shards, which add up every video of each of their partitions for each list that is not kept.",
    "By events: a video has more buckets with more events, until every one is there; by shards: the cores, which they "
    "share.",
)


class Way(StrEnum):
    KEPT = "kept"
    FRESH = "fresh"
    """In an open loop."""
    FRESH_CLOSED = "fresh, closed loop"


@dataclass(frozen=True, slots=True)
class ReadPlace:
    """The cluster that was read from."""

    event_count: int
    shards: int

    def describe(self) -> str:
        return f"{_count(self.event_count, 'events')} on {_count(self.shards, 'shards')}"


@dataclass(frozen=True, slots=True)
class ReadRun:
    """CPU in microseconds for each request, warming up included: of the gateway, and of all servers of the shards."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    answered_count: int
    gateway_us: float
    shards_us: float
    generator_share: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement of a question."""

    place: ReadPlace
    question: str
    label: str
    way: Way
    run: ReadRun


def describe_reads(readings: Sequence[Reading], *, name: str, title: str) -> PartReport:
    """Raises ValueError without a reading of cached answers, which exist only on the main cluster."""
    main = next((each.place for each in readings if each.way is Way.KEPT), None)
    if main is None:
        raise ValueError("no reading of a kept answer")
    by_events = _list_places(readings, lambda place: place.shards == main.shards)
    by_shards = _list_places(readings, lambda place: place.event_count == main.event_count)
    tables = [_tabulate_main(readings, main)]
    plots = []
    for places, read, what in (
        (by_events, lambda place: place.event_count, "events"),
        (by_shards, lambda place: place.shards, "shards"),
    ):
        if len(places) > 1:
            ordered = sorted(places, key=read)
            tables.append(_tabulate_growth(readings, ordered, read, what))
            plots.append(_plot_growth(readings, ordered, read, what))
    return PartReport(
        name=name,
        title=title,
        tables=tuple(tables),
        plots=tuple(plots),
        bounded_by=_BOUNDS,
        figures={"readings": [asdict(each) | {"way": str(each.way)} for each in readings]},
    )


def _tabulate_main(readings: Sequence[Reading], main: ReadPlace) -> ReportTable:
    rows = []
    has_closed = any(each.way is Way.FRESH_CLOSED for each in readings)
    for question, label in _list_questions(readings).items():
        kept = _find(readings, main, question, Way.KEPT)
        fresh = _find(readings, main, question, Way.FRESH)
        closed = _find(readings, main, question, Way.FRESH_CLOSED)
        rows.append(
            (
                label,
                _format(kept, lambda run: run.requests_per_second),
                _format(kept, lambda run: run.p99_ms, ",.1f"),
                _format(kept, lambda run: run.gateway_us),
                _format(fresh, lambda run: run.requests_per_second),
                _format(fresh, lambda run: run.p50_ms, ",.1f"),
                _format(fresh, lambda run: run.p99_ms, ",.1f"),
                f"{_format(fresh, lambda run: run.gateway_us)} + {_format(fresh, lambda run: run.shards_us)}",
                *([_format(closed, lambda run: run.requests_per_second)] if has_closed else []),
            )
        )
    columns = (
        "", "kept, most a second", "p99 ms", "CPU us", "fresh, at a second", "p50 ms", "p99 ms", "CPU us + shards",
        *(["fresh, most a second"] if has_closed else []),
    )  # fmt: skip
    notes = (
        "kept: a few asked for all the time, by 64 connections; by 8 for statistics, 2 for top lists",
        "fresh: each time another, at times fixed beforehand",
        "CPU a request: the gateway's, and that of the shards' servers",
    )
    return ReportTable(f"Reads from {main.describe()}", columns, tuple(rows), notes)


def _tabulate_growth(
    readings: Sequence[Reading], places: Sequence[ReadPlace], read: Callable[[ReadPlace], int], what: str
) -> ReportTable:
    rows = []
    for question, label in _list_questions(readings).items():
        cells = [
            f"{_format(runs, lambda run: run.p50_ms, ',.1f')} / {_format(runs, lambda run: run.p99_ms, ',.1f')}"
            for runs in (_find(readings, place, question, Way.FRESH) for place in places)
        ]
        rows.append((label, *cells))
    columns = ("", *(_count(read(place), what) for place in places))
    return ReportTable(f"Fresh answers by {what}: p50 / p99 ms", columns, tuple(rows))


def _plot_growth(
    readings: Sequence[Reading], places: Sequence[ReadPlace], read: Callable[[ReadPlace], int], what: str
) -> Plot:
    series = tuple(
        Series(
            label,
            tuple(
                (
                    float(read(place)),
                    _spread(_find(readings, place, question, Way.FRESH), lambda run: run.p50_ms).median,
                )
                for place in places
            ),
        )
        for question, label in _list_questions(readings).items()
        if question != COUNTS_BY_DJANGO
    )
    return Plot(f"Fresh answers by {what}", what, "p50 ms", series, x_log=True, y_log=True)


def _count(number: int, what: str) -> str:
    """`what` is a plural in s."""
    return f"{number:,} {what if number != 1 else what.removesuffix('s')}"


def _list_questions(readings: Sequence[Reading]) -> dict[str, str]:
    return {each.question: each.label for each in readings}


def _list_places(readings: Sequence[Reading], is_wanted: Callable[[ReadPlace], bool]) -> list[ReadPlace]:
    return list(dict.fromkeys(each.place for each in readings if is_wanted(each.place)))


def _find(readings: Sequence[Reading], place: ReadPlace, question: str, way: Way) -> list[ReadRun]:
    return [each.run for each in readings if (each.place, each.question, each.way) == (place, question, way)]


def _format(runs: Sequence[ReadRun], read: Callable[[ReadRun], float], style: str = ",.0f") -> str:
    return _spread(runs, read).describe(style) if runs else ""


def _spread(runs: Sequence[ReadRun], read: Callable[[ReadRun], float]) -> Spread:
    return Spread.of([read(run) for run in runs])

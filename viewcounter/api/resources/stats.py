"""What statistics of videos and of channels share: parameters, the comparison with the period before, CSV."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from viewcounter.api.answers import Json
from viewcounter.api.csv_answers import CSV_TYPE, StatsCsvRenderer
from viewcounter.api.http_caching import build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import get_period, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.config import get_config
from viewcounter.queries.comparing import Compare, ask_previous, subtract
from viewcounter.queries.functions import Function, Number
from viewcounter.queries.meta import Meta
from viewcounter.queries.periods import Fill
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.sketched import SketchLimits, StatsFunction, parse_stats_function

STATS_PARAMETERS = [
    documents.EVENT_TYPE,
    documents.STATS_FUNCTION,
    documents.START_TIME,
    documents.END_TIME,
    documents.INTERVAL,
    documents.TIME_ZONE,
    documents.FILL,
    documents.COMPARE,
]


class Stats(Protocol):
    """An answer about a period, of whatever."""

    @property
    def value(self) -> Number | None: ...

    @property
    def meta(self) -> Meta: ...


Answer = TypeVar("Answer", bound=Stats)


@dataclass(frozen=True, slots=True)
class StatsDemand:
    """What is asked, but of which video or channel."""

    event_type: str
    function: StatsFunction
    period: Period
    interval: Interval | None
    fill: Fill
    zone_name: str
    compare: Compare | None


class StatsView(ReadView):
    parameters = ("event_type", "function", "start_time", "end_time", "interval", "tz", "fill", "compare")
    renderer_classes = (JSONRenderer, StatsCsvRenderer)

    @staticmethod
    def get_responses(serializer: type) -> dict[Any, Any]:
        """For the document."""
        return {(200, "application/json"): serializer, (200, CSV_TYPE): OpenApiTypes.STR}

    def get_demand(self, request: Request) -> StatsDemand:
        """Raises InvalidQuery."""
        query = request.query_params
        interval, compare = query.get("interval"), query.get("compare")
        return StatsDemand(
            event_type=get_required(query, "event_type"),
            function=parse_stats_function(query.get("function", Function.COUNT)),
            period=get_period(query),
            interval=None if interval is None else Interval.parse(interval),
            fill=Fill.parse(query.get("fill", Fill.NONE)),
            zone_name=query.get("tz", "UTC"),
            compare=None if compare is None else Compare.parse(compare),
        )

    def answer(
        self,
        request: Request,
        demand: StatsDemand,
        ask: Callable[[Period], Answer],
        encode: Callable[[Answer], Json],
    ) -> HttpResponse:
        answer = ask(demand.period)
        body, meta = encode(answer), answer.meta
        if demand.compare is not None:
            before = ask_previous(ask, demand.period)
            body |= encode_comparison(answer, before, encode=encode)
            meta = replace(meta, is_final=meta.is_final and before.meta.is_final)
        variant = request.accepted_renderer.format
        response = build_read_response(request, body, meta=meta, variant="" if variant == "json" else variant)
        if variant != "json":
            _tell_of(body, response)
        return response


def get_sketch_limits() -> SketchLimits:
    config = get_config()
    return SketchLimits(
        max_events=config.sketch_read_max_events,
        max_pieces=config.sketch_read_max_pieces,
        max_bytes=config.sketch_read_max_bytes,
        future_seconds=config.accept_future_seconds,
    )


def encode_comparison(answer: Answer, before: Answer, *, encode: Callable[[Answer], Json]) -> Json:
    encoded = encode(before)
    difference = subtract(answer.value, before.value)
    names = ("start_time", "end_time", "value", "series", "meta")
    return {
        "previous": {name: encoded[name] for name in names if name in encoded},
        "delta": difference.delta,
        "ratio": difference.ratio,
    }


def _tell_of(body: Json, response: HttpResponse) -> None:
    """A table has no room for `meta`, and nobody shall take a part of an answer for the whole."""
    metas = [body["meta"], *([body["previous"]["meta"]] if "previous" in body else [])]
    response["X-Complete-Until"] = min(meta["complete_until"] for meta in metas).isoformat().replace("+00:00", "Z")
    response["X-Partial"] = "true" if any(meta["partial"] for meta in metas) else "false"
    errors = {name: error for meta in metas for name, error in meta.get("approximate", {}).items()}
    if errors:
        response["X-Approximate"] = ", ".join(
            f"{function};{';'.join(f'{name}={value}' for name, value in error.items())}"
            for function, error in errors.items()
        )
    response["X-Stale"] = "true" if any(meta["stale"] for meta in metas) else "false"

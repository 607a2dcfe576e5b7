"""Statistics of videos and of channels, also compared with an earlier period, as JSON and as CSV."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from viewcounter.api import read_options
from viewcounter.api.answers import Json, encode_stats
from viewcounter.api.csv_answers import CSV_TYPE, StatsCsvRenderer
from viewcounter.api.http_caching import build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id, get_period, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.api.resources.channels import MEMBERSHIP, ChannelMetaSerializer
from viewcounter.api.serializers import PreviousStatsSerializer, StatsAnswerSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.comparing import Compare, get_compared, plan_compared, subtract
from viewcounter.queries.functions import Function
from viewcounter.queries.periods import Fill
from viewcounter.queries.ranges import Interval, Period
from viewcounter.queries.sketched import parse_stats_function
from viewcounter.queries.stats import StatsAnswer, StatsQuery, get_stats
from viewcounter.queries.targets import StatsTarget, TargetKind
from viewcounter.queries.zones import get_zone, get_zone_name

STATS_PARAMETERS = [
    documents.EVENT_TYPE,
    documents.STATS_FUNCTION,
    documents.START_TIME,
    documents.END_TIME,
    documents.INTERVAL,
    documents.TIME_ZONE,
    documents.WEEK_START,
    documents.FILL,
    documents.COMPARE,
]


class ChannelPreviousStatsSerializer(PreviousStatsSerializer):
    meta = ChannelMetaSerializer()


class ChannelStatsAnswerSerializer(StatsAnswerSerializer):
    video_id = None
    channel_id = serializers.CharField()
    previous = ChannelPreviousStatsSerializer(required=False, help_text="With `compare` only, as are the next two.")
    meta = ChannelMetaSerializer()


class StatsView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}
    parameters = ("event_type", "function", "start_time", "end_time", "interval", "tz", "week_start", "fill", "compare")
    renderer_classes = (JSONRenderer, StatsCsvRenderer)

    @staticmethod
    def get_responses(serializer: type) -> dict[Any, Any]:
        """For the document."""
        return {(200, "application/json"): serializer, (200, CSV_TYPE): OpenApiTypes.STR}

    def answer(self, request: Request, target: StatsTarget) -> HttpResponse:
        options, now = self.get_options(request, one_video=target.kind is TargetKind.VIDEO), datetime.now(UTC)
        query = self.get_query(request, target)
        compare = request.query_params.get("compare")
        compared = None if compare is None else _plan_compared(query, Compare.parse(compare))
        get = partial(
            get_stats,
            get_cluster(),
            max_buckets=get_config().api.stats_max_buckets,
            now=now,
            options=options,
            cache=find_read_cache(),
            limits=get_config().sketch_read,
        )
        answer = get(query)
        body, meta = encode_stats(answer), answer.meta
        if compared is not None:
            before = get_compared(lambda period: get(replace(query, period=period)), compared)
            body |= encode_comparison(answer, before)
            meta = replace(meta, is_final=meta.is_final and before.meta.is_final)
        variant = request.accepted_renderer.format
        response = build_read_response(request, body, meta=meta, variant="" if variant == "json" else variant)
        if variant != "json":
            _add_meta_headers(body, response)
        return response

    def get_query(self, request: Request, target: StatsTarget) -> StatsQuery:
        """Raises InvalidQuery."""
        params = request.query_params
        interval = params.get("interval")
        return StatsQuery(
            target=target,
            event_type=get_required(params, "event_type"),
            function=parse_stats_function(params.get("function", Function.COUNT)),
            period=get_period(params),
            interval=None if interval is None else Interval.parse(interval),
            fill=Fill.parse(params.get("fill", Fill.NONE)),
            zone_name=get_zone_name(params.get("tz", "UTC")),
            week_start=WeekStart.parse(params.get("week_start", WeekStart.MONDAY)),
        )


class VideoStatsView(StatsView):
    @extend_schema(
        operation_id="getVideoStats",
        tags=["reads"],
        summary="One function over a period, in all and by interval",
        description="Without an interval one value, with one a series too; as JSON or CSV.",
        parameters=[documents.VIDEO_ID, *STATS_PARAMETERS, *read_options.OF_ONE_VIDEO],
        responses=StatsView.get_responses(StatsAnswerSerializer),
    )
    def get(self, request: Request, video_id: str) -> HttpResponse:
        return self.answer(request, StatsTarget.video(check_id("video_id", video_id)))


class ChannelStatsView(StatsView):
    @extend_schema(
        operation_id="getChannelStats",
        tags=["reads"],
        summary="One function over a period on a channel's videos, in all and by interval",
        description=MEMBERSHIP,
        parameters=[documents.CHANNEL_ID, *STATS_PARAMETERS, *read_options.OF_MANY_PARTITIONS],
        responses=StatsView.get_responses(ChannelStatsAnswerSerializer),
    )
    def get(self, request: Request, channel_id: str) -> HttpResponse:
        return self.answer(request, StatsTarget.channel(check_id("channel_id", channel_id)))


def _plan_compared(query: StatsQuery, compare: Compare) -> Period:
    return plan_compared(query.period, compare, zone=get_zone(query.zone_name), interval=query.interval)


def encode_comparison(answer: StatsAnswer, before: StatsAnswer) -> Json:
    encoded = encode_stats(before)
    difference = subtract(answer.value, before.value)
    names = ("start_time", "end_time", "value", "series", "meta")
    return {
        "previous": {name: encoded[name] for name in names if name in encoded},
        "delta": difference.delta,
        "ratio": difference.ratio,
    }


def _add_meta_headers(body: Json, response: HttpResponse) -> None:
    """A CSV has no metadata, so its completeness is in headers."""
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

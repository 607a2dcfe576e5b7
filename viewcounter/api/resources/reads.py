"""Counts of videos, and top lists."""

from datetime import UTC, datetime

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api import read_options
from viewcounter.api.answers import encode_counts, encode_many_counts, encode_top
from viewcounter.api.http_caching import build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id, get_integer, get_period, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.api.serializers import (
    CountsQuerySerializer,
    ManyCountsAnswerSerializer,
    TopAnswerSerializer,
    VideoCountsAnswerSerializer,
)
from viewcounter.apikeys.scopes import Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.queries.counts import get_counts, get_counts_of_videos
from viewcounter.queries.functions import Function
from viewcounter.queries.top import TopQuery, get_top

TOP_DEFAULT_LIMIT = 10


class VideoCountsView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}

    @extend_schema(
        operation_id="getVideoCounts",
        tags=["reads"],
        summary="Events of every type, over all time",
        description="A video that was never seen and is not in the catalogue has zeros, and `known` is false.",
        parameters=[documents.VIDEO_ID, *read_options.OF_ONE_VIDEO],
        responses=VideoCountsAnswerSerializer,
    )
    def get(self, request: Request, video_id: str) -> HttpResponse:
        options = self.get_options(request, one_video=True)
        video_id = check_id("video_id", video_id)
        answer = get_counts(
            get_cluster(), video_id=video_id, now=datetime.now(UTC), options=options, cache=find_read_cache()
        )
        return build_read_response(request, encode_counts(answer), meta=answer.meta)


class CountsQueryView(ReadView):
    required_scopes = {"POST": Scope.STATS_READ}

    @extend_schema(
        operation_id="queryCounts",
        tags=["reads"],
        summary="Counts of many videos at once",
        description=(
            "Up to 500 videos, answered in the order of the request, each once. Videos of a shard that does not answer "
            "are left out and named in `meta.missing`."
        ),
        parameters=read_options.OF_MANY_PARTITIONS,
        request=CountsQuerySerializer,
        responses=ManyCountsAnswerSerializer,
    )
    def post(self, request: Request) -> Response:
        options = self.get_options(request, one_video=False)
        body = CountsQuerySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        answer = get_counts_of_videos(
            get_cluster(),
            video_ids=body.validated_data["video_ids"],
            max_videos=get_config().api.counts_query_max_videos,
            now=datetime.now(UTC),
            options=options,
            cache=find_read_cache(),
        )
        return Response(encode_many_counts(answer))


class TopView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}
    parameters = ("event_type", "function", "start_time", "end_time", "limit")

    @extend_schema(
        operation_id="getTop",
        tags=["reads"],
        summary="The videos with the highest value",
        description="Highest first, equal values by video id. Over all time unless a period is given.",
        parameters=[
            documents.EVENT_TYPE,
            documents.FUNCTION,
            documents.START_TIME,
            documents.END_TIME,
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": TOP_DEFAULT_LIMIT}),
            *read_options.OF_MANY_PARTITIONS,
        ],
        responses=TopAnswerSerializer,
    )
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        options = self.get_options(request, one_video=False)
        top_query = TopQuery(
            event_type=get_required(query, "event_type"),
            function=Function.parse(query.get("function", Function.COUNT)),
            period=get_period(query),
            limit=get_integer(query, "limit", default=TOP_DEFAULT_LIMIT),
        )
        answer = get_top(
            get_cluster(),
            top_query,
            max_limit=get_config().api.top_max_limit,
            now=datetime.now(UTC),
            options=options,
            cache=find_read_cache(),
        )
        return build_read_response(request, encode_top(answer), meta=answer.meta)

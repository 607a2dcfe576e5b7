"""`GET /v1/events`: single events of a video, page by page. `POST` of the same address is the gateway's lane."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from viewcounter.api import read_options
from viewcounter.api.answers import Json, encode_meta
from viewcounter.api.cursor import decode_cursor, encode_cursor
from viewcounter.api.http_caching import ASK_FIRST, build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id, find_instant, get_integer, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.api.serializers import MetaSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.queries.raw_events import BEFORE_ALL, RAW_MAX_LIMIT, RawPage, RawQuestion, get_raw_page


class RawEventSerializer(serializers.Serializer):
    event_id = serializers.UUIDField()
    event_type = serializers.CharField()
    occurred_at = serializers.DateTimeField()
    received_at = serializers.DateTimeField()
    value = serializers.FloatField(help_text="In the unit of the event type; 1 where it has none.")


class RawPageSerializer(serializers.Serializer):
    video_id = serializers.CharField()
    start_time = serializers.DateTimeField(allow_null=True, help_text="Inclusive; null: open.")
    end_time = serializers.DateTimeField(allow_null=True, help_text="Exclusive; null: open.")
    kept_from = serializers.DateTimeField(
        allow_null=True, help_text="Events received before this are no longer kept one by one."
    )
    events = RawEventSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")
    meta = MetaSerializer()


def encode_raw_page(page: RawPage, *, next_cursor: str | None) -> Json:
    events: list[dict[str, Any]] = [
        {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "occurred_at": event.occurred_at,
            "received_at": event.received_at,
            "value": event.value,
        }
        for event in page.events
    ]
    return {
        "video_id": page.question.video_id,
        "start_time": page.question.start,
        "end_time": page.question.end,
        "kept_from": page.kept_from,
        "events": events,
        "next_cursor": next_cursor,
        "meta": encode_meta(page.meta),
    }


RAW_DEFAULT_LIMIT = 100
_VIDEO_ID = OpenApiParameter("video_id", documents.VIDEO_ID.type, required=True)
_EVENT_TYPE = OpenApiParameter("event_type", OpenApiTypes.STR, description="Left out: events of every type.")
_START_TIME = OpenApiParameter("start_time", OpenApiTypes.DATETIME, description="Inclusive, to the microsecond.")
_END_TIME = OpenApiParameter("end_time", OpenApiTypes.DATETIME, description="Exclusive, to the microsecond.")


class RawEventsView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}
    http_method_names = ["get", "head"]
    parameters = ("video_id", "start_time", "end_time", "event_type", "limit", "cursor")

    @property
    def default_response_headers(self) -> dict[str, str]:
        """The address takes POST too, before Django sees it."""
        return {**super().default_response_headers, "Allow": "GET, HEAD, POST"}

    @extend_schema(
        operation_id="getEvents",
        tags=["reads"],
        summary="Single events of a video",
        description=(
            "Ordered by `occurred_at`, then `event_id`, to the microsecond. Pass `next_cursor` with the same "
            "parameters for the next page. An event that arrives late stands where it occurred, perhaps on a page "
            "already read. "
            "Events are kept for days only; `kept_from` says since when."
        ),
        parameters=[
            _VIDEO_ID,
            _START_TIME,
            _END_TIME,
            _EVENT_TYPE,
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": RAW_MAX_LIMIT, "default": RAW_DEFAULT_LIMIT}
            ),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
            *read_options.OF_ONE_VIDEO,
        ],
        responses=RawPageSerializer,
    )
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        options = self.get_options(request, one_video=True)
        asked = (
            check_id("video_id", get_required(query, "video_id")),
            find_instant(query, "start_time"),
            find_instant(query, "end_time"),
            query.get("event_type"),
        )
        cursor = query.get("cursor")
        question = RawQuestion(
            *asked,
            limit=get_integer(query, "limit", default=RAW_DEFAULT_LIMIT),
            after=BEFORE_ALL if cursor is None else decode_cursor(cursor, question=asked),
        )
        config = get_config()
        page = get_raw_page(
            get_cluster(),
            question,
            future_seconds=config.accept_future_seconds,
            now=datetime.now(UTC),
            options=options,
        )
        following = page.following
        next_cursor = None if following is None else encode_cursor(following, question=asked)
        body = encode_raw_page(page, next_cursor=next_cursor)
        return build_read_response(request, body, meta=page.meta, cache_control=ASK_FIRST)

"""`GET /v1/events`: single events of a video, page by page. `POST` of the same address is the ingest endpoint."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from viewcounter.api import read_options
from viewcounter.api.answers import Json, encode_meta
from viewcounter.api.http_caching import REVALIDATE, build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.pagination import compute_digest, decode_cursor, encode_cursor
from viewcounter.api.parameters import check_id, find_instant, get_integer, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.api.serializers import MetaSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.raw_events import BEFORE_ALL, RAW_MAX_LIMIT, EventKey, RawEventsQuery, RawPage, get_raw_page


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
    kept_from = serializers.DateTimeField(allow_null=True, help_text="Single events received before this have expired.")
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
        "video_id": page.query.video_id,
        "start_time": page.query.start,
        "end_time": page.query.end,
        "kept_from": page.kept_from,
        "events": events,
        "next_cursor": next_cursor,
        "meta": encode_meta(page.meta),
    }


def encode_event_key(key: EventKey, *, parameters: tuple[Any, ...]) -> str:
    """`parameters`: those that must be the same for every page; the limit may change from page to page."""
    return encode_cursor(key.occurred_at, key.event_id.hex, compute_digest(parameters), salt=_SALT)


def decode_event_key(cursor: str, *, parameters: tuple[Any, ...]) -> EventKey:
    """Raises as `decode_cursor`, and InvalidQuery for the cursor of a page with other parameters."""
    occurred_at, event_id, digest = decode_cursor(cursor, salt=_SALT)
    if digest != compute_digest(parameters):
        message = "belongs to a page with another video_id, start_time, end_time or event_type"
        raise InvalidQuery("cursor", "cursor_of_another_question", message)
    return EventKey(occurred_at, UUID(event_id))


RAW_DEFAULT_LIMIT = 100
_SALT = "viewcounter.raw_slice"
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
            "Single events expire after days; those received since `kept_from` are there."
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
        parameters = (
            check_id("video_id", get_required(query, "video_id")),
            find_instant(query, "start_time"),
            find_instant(query, "end_time"),
            query.get("event_type"),
        )
        cursor = query.get("cursor")
        events_query = RawEventsQuery(
            *parameters,
            limit=get_integer(query, "limit", default=RAW_DEFAULT_LIMIT),
            after=BEFORE_ALL if cursor is None else decode_event_key(cursor, parameters=parameters),
        )
        config = get_config()
        page = get_raw_page(
            get_cluster(),
            events_query,
            future_seconds=config.accept.future_seconds,
            now=datetime.now(UTC),
            options=options,
        )
        next_cursor = None if page.next_key is None else encode_event_key(page.next_key, parameters=parameters)
        body = encode_raw_page(page, next_cursor=next_cursor)
        return build_read_response(request, body, meta=page.meta, cache_control=REVALIDATE)

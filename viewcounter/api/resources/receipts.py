"""`GET /v1/receipts/{event_id}`: what became of one event."""

from datetime import UTC, datetime
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from viewcounter.api import read_options
from viewcounter.api.http_caching import ASK_FIRST, build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id, find_instant, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.api.resources.receipt_answers import ReceiptSerializer, encode_receipt
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.receipts import ReceiptQuestion, get_receipt


class ReceiptView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}
    parameters = ("video_id", "position", "occurred_at")

    @extend_schema(
        operation_id="getReceipt",
        tags=["events"],
        summary="What became of one event",
        description=(
            "About the id, or with `position` about the copy that was answered there: only then a `duplicate` can be "
            "told from the event itself, and what is still on its way from what nobody knows. Give `occurred_at` if "
            "the id is not a UUID of version 7: it is found faster then."
        ),
        parameters=[
            OpenApiParameter("event_id", OpenApiTypes.UUID, OpenApiParameter.PATH),
            OpenApiParameter("video_id", documents.VIDEO_ID.type, required=True, description="The event's own."),
            OpenApiParameter(
                "position",
                read_options.POSITION,
                description="Of the video's partition, from `positions` of the answer to `POST /v1/events`.",
            ),
            OpenApiParameter("occurred_at", OpenApiTypes.DATETIME, description="The event's own, exactly."),
            *read_options.OF_ONE_VIDEO,
        ],
        responses=ReceiptSerializer,
    )
    def get(self, request: Request, event_id: str) -> HttpResponse:
        query = request.query_params
        options = self.get_options(request, one_video=True)
        position = query.get("position")
        question = ReceiptQuestion(
            event_id=_parse_event_id(event_id),
            video_id=check_id("video_id", get_required(query, "video_id")),
            position=None if position is None else read_options.parse_position("position", position),
            occurred_at=find_instant(query, "occurred_at"),
        )
        receipt = get_receipt(
            get_cluster(),
            get_event_log(),
            question,
            max_log_entries=get_config().receipt_log_entries,
            now=datetime.now(UTC),
            options=options,
        )
        return build_read_response(request, encode_receipt(receipt), meta=receipt.meta, cache_control=ASK_FIRST)


def _parse_event_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidQuery("event_id", "invalid_uuid", "must be a UUID") from None

"""`GET /v1/receipts/{event_id}`: what became of one event."""

from datetime import UTC, datetime
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
from viewcounter.api.parameters import check_id, find_instant, get_required
from viewcounter.api.resources.base import ReadView
from viewcounter.api.serializers import MetaSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.receipts import Receipt, ReceiptQuery, ReceiptState, get_receipt

STATES = (
    "`pending`: in the log, not judged yet. `applied`: counted. `duplicate`: an earlier copy is counted. `conflict`: "
    "another event had the id first, this one is not counted (`GET /v1/conflicts`). `dead_letter`: it could not be "
    "counted, see `reason` (`GET /v1/dead-letters`). `unknown`: neither the shard nor the log knows it: never "
    "accepted, on the disk of a gateway, or older than the retention of ids."
)


class ReceiptSerializer(serializers.Serializer):
    event_id = serializers.UUIDField()
    video_id = serializers.CharField()
    state = serializers.ChoiceField(choices=list(ReceiptState), help_text=STATES)
    reason = serializers.CharField(allow_null=True, help_text="Of a dead letter; null otherwise.")
    occurred_at = serializers.DateTimeField(allow_null=True, help_text="As counted; null unless the event is stored.")
    received_at = serializers.DateTimeField(allow_null=True, help_text="Of the copy that is counted.")
    partition = serializers.IntegerField(min_value=0)
    applied_through = serializers.CharField(help_text="Everything up to this position of the partition is judged.")
    meta = MetaSerializer()


def encode_receipt(receipt: Receipt) -> Json:
    return {
        "event_id": receipt.query.event_id,
        "video_id": receipt.query.video_id,
        "state": receipt.state.value,
        "reason": receipt.reason,
        "occurred_at": receipt.occurred_at,
        "received_at": receipt.received_at,
        "partition": receipt.partition,
        "applied_through": str(receipt.applied_through),
        "meta": encode_meta(receipt.meta),
    }


class ReceiptView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}
    parameters = ("video_id", "position", "occurred_at")

    @extend_schema(
        operation_id="getReceipt",
        tags=["events"],
        summary="What became of one event",
        description=(
            "Of the id, or with `position` of the copy at that position: only then a `duplicate` can be distinguished "
            "from the event itself, and `pending` from `unknown`. Give `occurred_at` if the id is not a UUID of "
            "version 7: the search is faster then."
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
        receipt_query = ReceiptQuery(
            event_id=_parse_event_id(event_id),
            video_id=check_id("video_id", get_required(query, "video_id")),
            position=None if position is None else read_options.parse_position("position", position),
            occurred_at=find_instant(query, "occurred_at"),
        )
        receipt = get_receipt(
            get_cluster(),
            get_event_log(),
            receipt_query,
            max_log_entries=get_config().api.receipt_log_entries,
            now=datetime.now(UTC),
            options=options,
        )
        return build_read_response(request, encode_receipt(receipt), meta=receipt.meta, cache_control=REVALIDATE)


def _parse_event_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidQuery("event_id", "invalid_uuid", "must be a UUID") from None

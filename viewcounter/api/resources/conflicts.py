"""`GET /v1/conflicts`: events that carried the id of another event that was counted."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from configservice.topology.model import Topology
from viewcounter.api.answers import Json, encode_missing
from viewcounter.api.openapi import documents
from viewcounter.api.pagination import decode_page_key, encode_page_key
from viewcounter.api.parameters import check_id, check_parameters, find_partition, get_limit
from viewcounter.api.resources.base import ApiView
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.conflicts import ConflictPage, list_conflicts
from viewcounter.events.message import VALUE_SCALE

CURSOR_SALT = "viewcounter.conflicts"


class ConflictSerializer(serializers.Serializer):
    event_id = serializers.UUIDField(help_text="The id under which another event was counted.")
    video_id = serializers.CharField(help_text="Characters that cannot be stored are shown as U+FFFD.")
    event_type = serializers.CharField(allow_null=True, help_text="Null: no event type has this id now.")
    event_type_id = serializers.IntegerField()
    occurred_at = serializers.DateTimeField()
    value = serializers.FloatField(help_text="In the unit of the event type.")
    received_at = serializers.DateTimeField()
    partition = serializers.IntegerField()
    position = serializers.CharField(help_text="`term-seq` in the partition's log: the end of the flush that met it.")
    created_at = serializers.DateTimeField(help_text="When that flush was written.")


class ConflictPageSerializer(serializers.Serializer):
    conflicts = ConflictSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")
    partial = serializers.BooleanField(help_text="True: a shard did not answer.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Names of the shards that are missing.")


def encode_conflict_page(page: ConflictPage, *, topology: Topology) -> Json:
    names = {event_type.id: event_type.name for event_type in topology.event_types}
    conflicts: list[dict[str, Any]] = [
        {
            "event_id": conflict.event_id,
            "video_id": conflict.video_id,
            "event_type": names.get(conflict.event_type_id),
            "event_type_id": conflict.event_type_id,
            "occurred_at": conflict.occurred_at,
            "value": conflict.value / VALUE_SCALE,
            "received_at": conflict.received_at,
            "partition": conflict.partition,
            "position": conflict.position,
            "created_at": conflict.created_at,
        }
        for conflict in page.items
    ]
    return {
        "conflicts": conflicts,
        "next_cursor": encode_page_key(page.next_key, salt=CURSOR_SALT),
        **encode_missing(page.missing_shards, topology=topology),
    }


DEFAULT_LIMIT = 100


class ConflictsView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}
    parameters = ("partition", "video_id", "limit", "cursor")

    @extend_schema(
        operation_id="listConflicts",
        tags=["operations"],
        summary="Events that were not counted because another event has their id",
        description=(
            "A sender has used an id for two different events: the first one counts. Newest first. "
            "A flush keeps only its first few conflicts; `conflict` of the audit counts all of them."
        ),
        parameters=[
            OpenApiParameter("partition", OpenApiTypes.INT),
            OpenApiParameter("video_id", documents.VIDEO_ID.type),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses=ConflictPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query, cluster = request.query_params, get_cluster()
        check_parameters(query, allowed=self.parameters)
        video_id = query.get("video_id")
        page = list_conflicts(
            cluster,
            partition=find_partition(query, partition_count=cluster.topology.partition_count),
            video_id=None if video_id is None else check_id("video_id", video_id),
            before=decode_page_key(query.get("cursor"), salt=CURSOR_SALT),
            limit=get_limit(query, default=DEFAULT_LIMIT, most=get_config().dead_letters.conflicts_max_items),
        )
        return Response(encode_conflict_page(page, topology=cluster.topology))

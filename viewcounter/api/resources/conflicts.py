"""`GET /v1/conflicts`: events that carried the id of another event that was counted."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id, check_parameters, find_partition, get_limit
from viewcounter.api.place_cursor import decode_place
from viewcounter.api.resources.base import ApiView
from viewcounter.api.resources.conflict_answers import CURSOR_SALT, ConflictPageSerializer, encode_conflict_page
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.conflicts import list_conflicts

DEFAULT_LIMIT = 100


class ConflictsView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}
    parameters = ("partition", "video_id", "limit", "cursor")

    @extend_schema(
        operation_id="listConflicts",
        tags=["operations"],
        summary="Events that were not counted because another event has their id",
        description=(
            "A sender has used an id for two events that say different things: the first one counts. Newest first. "
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
            before=decode_place(query.get("cursor"), salt=CURSOR_SALT),
            limit=get_limit(query, default=DEFAULT_LIMIT, most=get_config().conflicts_max_items),
        )
        return Response(encode_conflict_page(page, topology=cluster.topology))

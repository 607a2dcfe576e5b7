"""`/v1/recounts`: start a recount, see its progress."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from viewcounter.api.pagination import decode_cursor, encode_cursor
from viewcounter.api.parameters import check_parameters, get_limit
from viewcounter.api.resources.audit import DifferenceSerializer
from viewcounter.api.resources.base import ApiView
from viewcounter.api.serializers import IdField, RequestSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.maintenance.models import RecountState
from viewcounter.maintenance.recount_jobs import (
    create_partition_recount,
    create_video_recount,
    encode_job,
    get_recount,
    list_recounts,
)
from viewcounter.queries.errors import InvalidQuery


class RecountRequestSerializer(RequestSerializer):
    """Exactly one of `video_id` and `partition`."""

    video_id = IdField(required=False, allow_null=True, default=None)
    partition = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, max_value=32_767)
    apply = serializers.BooleanField(default=False, help_text="Correct what differs. Without: only show it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["video_id"] is None) == (attrs["partition"] is None):
            raise serializers.ValidationError("Name a video_id or a partition, not both.", code="one_target")
        return attrs


class RecountSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    video_id = serializers.CharField(allow_null=True, help_text="Null: every video of the partition.")
    partition = serializers.IntegerField()
    apply = serializers.BooleanField()
    actor = serializers.CharField(help_text="Who started it.")
    state = serializers.ChoiceField(choices=RecountState.choices)
    videos_done = serializers.IntegerField()
    videos_total = serializers.IntegerField(allow_null=True, help_text="Null: not known yet.")
    difference_counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="Tier -> rows that differ, or were corrected."
    )
    differences = DifferenceSerializer(many=True, help_text="The first of each tier: before and after.")
    error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class RecountListSerializer(serializers.Serializer):
    recounts = RecountSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for older ones; null: there are none.")


DEFAULT_LIMIT = 20
CURSOR_SALT = "viewcounter.recounts"


class RecountsView(ApiView):
    required_scopes = {"GET": Scope.ADMIN, "POST": Scope.ADMIN}

    @extend_schema(
        operation_id="listRecounts",
        tags=["operations"],
        summary="The latest recounts",
        description="Newest first, with their progress.",
        parameters=[
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses=RecountListSerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        check_parameters(query, allowed=("limit", "cursor"))
        limit = get_limit(query, default=DEFAULT_LIMIT, most=get_config().recount.max_items)
        before = None
        if (cursor := query.get("cursor")) is not None:
            created_at, job_id = decode_cursor(cursor, salt=CURSOR_SALT)
            before = (created_at, UUID(job_id))
        found = list_recounts(limit=limit + 1, before=before)
        page = found[:limit]
        has_more = len(found) > limit
        next_cursor = encode_cursor(page[-1].created_at, page[-1].pk.hex, salt=CURSOR_SALT) if has_more else None
        return Response({"recounts": [encode_job(job) for job in page], "next_cursor": next_cursor})

    @extend_schema(
        operation_id="createRecount",
        tags=["operations"],
        summary="Rebuild aggregates from raw events",
        description=(
            "Compares every aggregate of a video, or of all videos of a partition, with its raw events, as far back "
            "as their retention, and with `apply` corrects differences. A worker begins within seconds; read the "
            "recount by its id for its progress. Counting goes on meanwhile and stays exact."
        ),
        request=RecountRequestSerializer,
        responses={202: RecountSerializer},
    )
    def post(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        body = RecountRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        video_id, partition = body.validated_data["video_id"], body.validated_data["partition"]
        apply, actor = body.validated_data["apply"], f"API key {request.auth.name} ({request.auth.prefix})"
        if video_id is not None:
            job = create_video_recount(get_cluster(), video_id, apply=apply, actor=actor)
        else:
            partition_count = get_cluster().topology.partition_count
            if partition >= partition_count:
                raise InvalidQuery("partition", "unknown_partition", f"must be 0 to {partition_count - 1}")
            job = create_partition_recount(partition, apply=apply, actor=actor)
        location = reverse("api:recount", kwargs={"recount_id": job.pk})
        return Response(encode_job(job), status=202, headers={"Location": location})


class RecountView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getRecount",
        tags=["operations"],
        summary="Progress and result of a recount",
        description="`difference_counts` has all differences, `differences` the first of them.",
        parameters=[OpenApiParameter("recount_id", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses=RecountSerializer,
    )
    def get(self, request: Request, recount_id: UUID) -> Response:
        check_parameters(request.query_params, allowed=())
        return Response(encode_job(get_recount(recount_id)))

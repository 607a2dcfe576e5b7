"""`/v1/cluster`: for operators and their programs."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from configservice.topology.history import read_history
from viewcounter.api.parameters import check_parameters, get_integer
from viewcounter.api.place_cursor import decode_number
from viewcounter.api.resources.base import ApiView
from viewcounter.api.resources.cluster_answers import (
    ClusterSerializer,
    HistorySerializer,
    encode_cluster,
    encode_history,
)
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.health.cluster_health import read_standing
from viewcounter.health.log_losses import find_losses
from viewcounter.health.registration import find_services
from viewcounter.health.shard_condition import find_reports
from viewcounter.queries.errors import InvalidQuery

HISTORY_DEFAULT_LIMIT = 20


class ClusterView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getCluster",
        tags=["operations"],
        summary="Shards, instances and processes, as they are right now",
        description="Every instance is asked; one that does not answer is `down`, with the reason.",
        responses=ClusterSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        config = get_config()
        topology, shards = read_standing(
            get_cluster(),
            timeout_seconds=config.readiness_probe_seconds,
            max_lag_seconds=config.replica_max_lag_seconds,
        )
        reports = find_reports(timeout_seconds=config.readiness_probe_seconds)
        losses = find_losses(timeout_seconds=config.readiness_probe_seconds)
        return Response(encode_cluster(topology, shards, find_services(), reports, losses))


class ClusterHistoryView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getClusterHistory",
        tags=["operations"],
        summary="Every change of the cluster: who, when, why, before and after",
        description="One entry an epoch, newest first. Pass `next_cursor` as `cursor` for older ones.",
        parameters=[
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": HISTORY_DEFAULT_LIMIT}),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses=HistorySerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        check_parameters(query, allowed=("limit", "cursor"))
        limit, most = get_integer(query, "limit", default=HISTORY_DEFAULT_LIMIT), get_config().history_max_epochs
        if not 1 <= limit <= most:
            raise InvalidQuery("limit", "out_of_range", f"must be 1 to {most}")
        entries = read_history(limit=limit, before_epoch=decode_number(query.get("cursor")))
        # The oldest epoch is the first: numbers are given without gaps, and none is ever removed.
        has_more = bool(entries) and entries[-1].epoch > 1
        return Response(encode_history(entries, next_cursor=str(entries[-1].epoch) if has_more else None))

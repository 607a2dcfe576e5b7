"""`GET /v1/audit`: what became of every event of an hour, and whether it is all still there."""

from datetime import UTC, datetime

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.parameters import check_parameters, get_required
from viewcounter.api.resources.audit_answers import AuditAnswerSerializer, encode_audit
from viewcounter.api.resources.base import ApiView
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.maintenance.audit import audit_cluster
from viewcounter.maintenance.audit_runs import get_audit_limits
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import parse_instant


class AuditView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getAudit",
        tags=["operations"],
        summary="The ledger of an hour, compared with raw events and aggregates",
        description=(
            "For each partition, in one snapshot of its shard: received = counted + duplicate + conflict + "
            "dead-lettered; the raw events (number and digest of ids) and the aggregates say the same; and which rows "
            "differ if not. Right at any moment, also for the hour under way."
        ),
        parameters=[
            OpenApiParameter(
                "hour", OpenApiTypes.DATETIME, required=True, description="Start of an hour in UTC, by event time."
            )
        ],
        responses=AuditAnswerSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=("hour",))
        config = get_config()
        audit = audit_cluster(
            get_cluster(),
            hour=_parse_hour(get_required(request.query_params, "hour")),
            limits=get_audit_limits(config),
            deadline_seconds=config.audit_request_seconds,
        )
        return Response(encode_audit(audit))


def _parse_hour(text: str) -> datetime:
    hour = parse_instant("hour", text).astimezone(UTC)
    if hour != hour.replace(minute=0, second=0, microsecond=0):
        raise InvalidQuery("hour", "not_an_hour", "must be the start of an hour in UTC")
    return hour

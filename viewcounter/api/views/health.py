"""For load balancers and operators, without a key: is the process alive, can it do its work."""
# ruff: noqa: ARG002 (the arguments are the framework's)

from functools import cache

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.readiness import ReadinessProbe
from viewcounter.api.serializers import HealthSerializer, ReadinessSerializer
from viewcounter.api.views.base import ApiView
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log


class HealthView(ApiView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="getHealth", tags=["health"], summary="The process answers", auth=[], responses=HealthSerializer
    )
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class ReadyView(ApiView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="getReadiness",
        tags=["health"],
        summary="Events can be accepted durably",
        description="503 when they cannot. A shard that is down is named, but does not make the service unready.",
        auth=[],
        responses={200: ReadinessSerializer, 503: ReadinessSerializer},
    )
    def get(self, request: Request) -> Response:
        readiness = get_readiness_probe().check(get_cluster(), get_event_log())
        body = {
            "status": "ready" if readiness.is_ready else "unready",
            "parts": {name: "up" if is_up else "down" for name, is_up in readiness.parts.items()},
        }
        return Response(body, status=200 if readiness.is_ready else 503)


@cache
def get_readiness_probe() -> ReadinessProbe:
    """The one of this process."""
    seconds = get_config().readiness_probe_seconds
    return ReadinessProbe(keep_seconds=seconds, part_seconds=seconds)

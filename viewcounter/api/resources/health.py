"""For load balancers and operators, without a key: is the process alive, can it do its work."""
# ruff: noqa: ARG002 (the arguments are the framework's)

from functools import cache

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.resources.base import ApiView
from viewcounter.api.serializers import HealthSerializer, ReadinessSerializer
from viewcounter.apikeys.authentication import knows_key
from viewcounter.apikeys.key_copy import get_key_copy
from viewcounter.cluster import CacheSource, ControlDatabaseSource, check_signature, get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.health.readiness import CACHE, CONTROL_DATABASE, SIGNATURE, ReadinessProbe


class HealthView(ApiView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="getHealth",
        tags=["health"],
        summary="The process answers",
        description="Asks nothing of the cluster: `/readyz` does.",
        auth=[],
        responses=HealthSerializer,
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
        description=(
            "503 when they cannot, or when no API key can be checked. Every other part that is down or degraded is "
            "named with its reason, but does not make the service unready: `degraded` is answered with 200."
        ),
        auth=[],
        responses={200: ReadinessSerializer, 503: ReadinessSerializer},
    )
    def get(self, request: Request) -> Response:
        readiness = get_readiness_probe().check(get_cluster(), get_event_log())
        body = {
            "status": readiness.status,
            "parts": {name: {"status": part.status, "reason": part.reason} for name, part in readiness.parts.items()},
        }
        return Response(body, status=200 if readiness.is_ready else 503)


@cache
def get_readiness_probe() -> ReadinessProbe:
    """The one of this process."""
    dependencies = {
        CONTROL_DATABASE: (
            ControlDatabaseSource().check,
            "does not answer: known API keys and the topology stay in use; meanwhile nothing can be changed, no"
            " instance joins, and no shard fails over unless an external manager does it",
        ),
        CACHE: (
            CacheSource().check,
            "does not answer: topology is polled from the control database, rows are not shared",
        ),
        SIGNATURE: (
            check_signature,
            "is missing from the newest change: no process acts on it before a config service with the key signs it",
        ),
    }
    return ReadinessProbe(
        get_config().readiness,
        dependencies=dependencies,
        knows_key=knows_key,
        find_key_copy_problem=get_key_copy().find_problem,
    )

"""`GET /v1/kills`: sessions that the shard proxies cancelled or ended."""

from collections.abc import Collection

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from shardproxy.kill_plan import KillAction, KillReason
from viewcounter.api.parameters import check_parameters, find_instant, get_integer
from viewcounter.api.resources.base import ApiView
from viewcounter.api.resources.kill_answers import SESSION_CLASSES, KillPageSerializer, decode_cursor, encode_page
from viewcounter.apikeys.scopes import Scope
from viewcounter.config import get_config
from viewcounter.queries.errors import InvalidQuery
from viewcounter.shardwatch.kills import KillFilter, list_kills

DEFAULT_LIMIT = 100
NAME_MAX_CHARACTERS = 63


class KillsView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}
    parameters = (
        "shard", "instance", "session_class", "action", "reason", "start_time", "end_time", "limit", "cursor",
    )  # fmt: skip

    @extend_schema(
        operation_id="listKills",
        tags=["operations"],
        summary="Database sessions cancelled or ended",
        description="For running, pausing or blocking past the budget of their class. Newest first.",
        parameters=[
            OpenApiParameter("shard", OpenApiTypes.STR),
            OpenApiParameter("instance", OpenApiTypes.STR),
            OpenApiParameter("session_class", {"type": "string", "enum": list(SESSION_CLASSES)}),
            OpenApiParameter("action", {"type": "string", "enum": list(KillAction)}),
            OpenApiParameter("reason", {"type": "string", "enum": list(KillReason)}),
            OpenApiParameter("start_time", OpenApiTypes.DATETIME, description="Inclusive."),
            OpenApiParameter("end_time", OpenApiTypes.DATETIME, description="Exclusive."),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses=KillPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        check_parameters(query, allowed=self.parameters)
        limit, most = get_integer(query, "limit", default=DEFAULT_LIMIT), get_config().kills_max_items
        if not 1 <= limit <= most:
            raise InvalidQuery("limit", "out_of_range", f"must be 1 to {most}")
        wanted = KillFilter(
            shard=_find_name(query, "shard"),
            instance=_find_name(query, "instance"),
            session_class=_find_choice(query, "session_class", SESSION_CLASSES),
            action=_find_choice(query, "action", list(KillAction)),
            reason=_find_choice(query, "reason", list(KillReason)),
            start=find_instant(query, "start_time"),
            end=find_instant(query, "end_time"),
        )
        return Response(encode_page(list_kills(wanted, before=decode_cursor(query.get("cursor")), limit=limit)))


def _find_name(query: QueryDict, name: str) -> str | None:
    """Of a shard or an instance, which may be gone by now."""
    value: str | None = query.get(name)
    if value is not None and (len(value) > NAME_MAX_CHARACTERS or "\0" in value):
        raise InvalidQuery(name, "invalid_name", f"must have at most {NAME_MAX_CHARACTERS} characters")
    return value


def _find_choice(query: QueryDict, name: str, allowed: Collection[str]) -> str | None:
    value: str | None = query.get(name)
    if value is not None and value not in allowed:
        raise InvalidQuery(name, f"unknown_{name}", f"must be one of: {', '.join(allowed)}")
    return value

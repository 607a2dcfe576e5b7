"""`GET /v1/kills`: sessions that the shard proxies cancelled or ended."""

from collections.abc import Collection

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from shardproxy.kill_plan import FOREIGN, KillAction, KillReason
from shardproxy.query import QueryClass
from viewcounter.api.answers import Json
from viewcounter.api.pagination import decode_cursor, encode_cursor
from viewcounter.api.parameters import check_parameters, find_instant, get_integer
from viewcounter.api.resources.base import ApiView
from viewcounter.apikeys.scopes import Scope
from viewcounter.config import get_config
from viewcounter.queries.errors import InvalidQuery
from viewcounter.shardwatch.kills import KillFilter, KillPage, KillPageKey, list_kills
from viewcounter.shardwatch.models import Kill

SESSION_CLASSES = (*(query_class.value for query_class in QueryClass), FOREIGN)
_SALT = "viewcounter.kills"


class KillSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    at = serializers.DateTimeField(help_text="By the clock of the instance.")
    shard = serializers.CharField()
    instance = serializers.CharField()
    action = serializers.ChoiceField(
        choices=list(KillAction), help_text="`cancel`: the statement was ended; `terminate`: the session."
    )
    reason = serializers.ChoiceField(choices=list(KillReason))
    session_class = serializers.ChoiceField(
        choices=SESSION_CLASSES, help_text="The query class, or `foreign`: it did not come through our pools."
    )
    age_seconds = serializers.FloatField(help_text="Of the statement, of the pause, or of the transaction (blocking).")
    budget_seconds = serializers.FloatField(help_text="What it was allowed.")
    pid = serializers.IntegerField()
    since = serializers.DateTimeField(help_text="When the statement, or the pause, began.")
    user = serializers.CharField()
    application = serializers.CharField()
    client_address = serializers.IPAddressField(allow_null=True, help_text="Null: over a socket of the same host.")
    fingerprint = serializers.CharField(
        help_text="PostgreSQL's query id, as in pg_stat_statements: the same for all that differ in values only."
    )
    statement = serializers.CharField(help_text="Without values; the last statement, where a pause was ended.")


class KillPageSerializer(serializers.Serializer):
    kills = KillSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")


def encode_page(page: KillPage) -> Json:
    key = page.next_key
    next_cursor = None if key is None else encode_cursor(key.at, key.id, salt=_SALT)
    return {"kills": [_encode_kill(kill) for kill in page.kills], "next_cursor": next_cursor}


def _encode_kill(kill: Kill) -> Json:
    return {
        "id": kill.pk,
        "at": kill.at,
        "shard": kill.shard,
        "instance": kill.instance,
        "action": kill.action,
        "reason": kill.reason,
        "session_class": kill.session_class,
        "age_seconds": kill.age_seconds,
        "budget_seconds": kill.budget_seconds,
        "pid": kill.pid,
        "since": kill.since,
        "user": kill.user,
        "application": kill.application,
        "client_address": kill.client_address,
        "fingerprint": kill.fingerprint,
        "statement": kill.statement,
    }


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
        limit, most = get_integer(query, "limit", default=DEFAULT_LIMIT), get_config().kill.max_items
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
        cursor = query.get("cursor")
        before = None if cursor is None else KillPageKey(*decode_cursor(cursor, salt=_SALT))
        return Response(encode_page(list_kills(wanted, before=before, limit=limit)))


def _find_name(query: QueryDict, name: str) -> str | None:
    """The name of a shard or an instance, which may be gone by now."""
    value: str | None = query.get(name)
    if value is not None and (len(value) > NAME_MAX_CHARACTERS or "\0" in value):
        raise InvalidQuery(name, "invalid_name", f"must have at most {NAME_MAX_CHARACTERS} characters")
    return value


def _find_choice(query: QueryDict, name: str, allowed: Collection[str]) -> str | None:
    value: str | None = query.get(name)
    if value is not None and value not in allowed:
        raise InvalidQuery(name, f"unknown_{name}", f"must be one of: {', '.join(allowed)}")
    return value

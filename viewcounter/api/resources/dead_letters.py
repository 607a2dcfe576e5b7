"""`/v1/dead-letters`: look at what could not be counted, replay it, discard it."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Topology
from viewcounter.api.answers import Json, encode_missing
from viewcounter.api.authentication import get_actor
from viewcounter.api.errors import StateConflict
from viewcounter.api.pagination import decode_page_key, encode_page_key
from viewcounter.api.parameters import (
    check_id,
    check_parameters,
    check_partition,
    find_instant,
    find_partition,
    get_limit,
)
from viewcounter.api.resources.base import ApiView
from viewcounter.api.serializers import IdField, RequestSerializer, TextField
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.errors import DeadLetterNotResolved
from viewcounter.deadletters.replay import (
    DONE,
    DeadLetterId,
    DeadLetterPage,
    FoundDeadLetter,
    ReplayOutcome,
    ReplayRules,
    Result,
    check_outcome,
    discard_dead_letters,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letters,
)
from viewcounter.eventlog.registry import get_event_log
from viewcounter.events.message import VALUE_SCALE
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import parse_instant
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState

CURSOR_SALT = "viewcounter.dead_letters"
REASON_MAX_CHARACTERS = 64


class DeadEventSerializer(serializers.Serializer):
    event_id = serializers.UUIDField()
    video_id = serializers.CharField(help_text="Characters that cannot be stored are shown as U+FFFD.")
    event_type = serializers.CharField(allow_null=True, help_text="Null: no event type has this id.")
    event_type_id = serializers.IntegerField()
    occurred_at = serializers.DateTimeField(allow_null=True, help_text="Null: no time of the calendar.")
    value = serializers.FloatField(help_text="In the unit of the event type.")


class DeadLetterSerializer(serializers.Serializer):
    id = serializers.CharField(help_text="`{shard}-{row}`")
    partition = serializers.IntegerField()
    position = serializers.CharField(help_text="`term-seq` in the partition's log: end of the flush that refused it.")
    reason = serializers.CharField(
        help_text="`refused_by_shard`, `unknown_event_type`, `too_late` or `unreadable_entry`."
    )
    sqlstate = serializers.CharField(allow_null=True, help_text="PostgreSQL's code, if it gave one.")
    detail = serializers.CharField()
    event = DeadEventSerializer(allow_null=True, help_text="Null: a log entry that could not be read.")
    attempts = serializers.IntegerField(help_text="How often it was refused.")
    state = serializers.ChoiceField(choices=list(DeadLetterState))
    actor = serializers.CharField(allow_null=True, help_text="Who replayed or discarded it.")
    created_at = serializers.DateTimeField(help_text="First refused.")
    refused_at = serializers.DateTimeField(help_text="Last refused.")
    resolved_at = serializers.DateTimeField(allow_null=True)
    payload_bytes = serializers.IntegerField()


class DeadLetterWithPayloadSerializer(DeadLetterSerializer):
    payload = serializers.CharField(help_text="Base64 of a packed log entry, or of the bytes that were none.")


class DeadLetterPageSerializer(serializers.Serializer):
    dead_letters = DeadLetterSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")
    partial = serializers.BooleanField(help_text="True: a shard did not answer.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Names of the shards that are missing.")


class OutcomeSerializer(serializers.Serializer):
    id = serializers.CharField()
    result = serializers.ChoiceField(choices=list(Result))
    detail = serializers.CharField()


class BulkReplayAnswerSerializer(serializers.Serializer):
    replayed = serializers.IntegerField()
    not_replayed = OutcomeSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Goes on behind these; null: no more.")
    partial = serializers.BooleanField(help_text="True: a shard did not answer.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Names of the shards that are missing.")


@extend_schema_field({"type": "string", "format": "date-time"})
class InstantField(TextField):
    def to_internal_value(self, data: Any) -> datetime:  # type: ignore[override]
        return parse_instant(self.field_name, super().to_internal_value(data))


class BulkReplaySerializer(RequestSerializer):
    """Which new dead letters; a field that is left out is no condition."""

    partition = serializers.IntegerField(required=False, allow_null=True, default=None)
    reason = TextField(required=False, allow_null=True, default=None, max_length=REASON_MAX_CHARACTERS)
    video_id = IdField(required=False, allow_null=True, default=None)
    start_time = InstantField(required=False, allow_null=True, default=None, help_text="First refused, inclusive.")
    end_time = InstantField(required=False, allow_null=True, default=None, help_text="First refused, exclusive.")
    limit = serializers.IntegerField(min_value=1, help_text="At most this many are replayed, newest first.")
    cursor = TextField(required=False, allow_null=True, default=None, help_text="`next_cursor` of the call before.")

    def validate_limit(self, limit: int) -> int:
        most = get_config().dead_letters.max_items
        if limit > most:
            raise serializers.ValidationError(f"must be at most {most}", code="too_many")
        return limit


def encode_page(page: DeadLetterPage, *, topology: Topology) -> Json:
    return {
        "dead_letters": [encode_dead_letter(found, topology=topology) for found in page.items],
        "next_cursor": encode_page_key(page.next_key, salt=CURSOR_SALT),
        **encode_missing(page.missing_shards, topology=topology),
    }


def encode_dead_letter(found: FoundDeadLetter, *, topology: Topology) -> Json:
    letter = found.letter
    return {
        "id": str(found.id),
        "partition": letter.partition,
        "position": letter.position,
        "reason": letter.reason,
        "sqlstate": letter.sqlstate,
        "detail": letter.detail,
        "event": _encode_event(found, topology=topology),
        "attempts": letter.attempts,
        "state": letter.state.value,
        "actor": letter.actor or None,
        "created_at": letter.created_at,
        "refused_at": letter.refused_at,
        "resolved_at": letter.resolved_at,
        "payload_bytes": letter.payload_bytes,
    }


def _encode_event(found: FoundDeadLetter, *, topology: Topology) -> Json | None:
    letter = found.letter
    if letter.event_id is None:
        return None
    names = {event_type.id: event_type.name for event_type in topology.event_types}
    return {
        "event_id": letter.event_id,
        "video_id": letter.video_id,
        "event_type": names.get(letter.event_type_id or 0),
        "event_type_id": letter.event_type_id,
        "occurred_at": letter.occurred_at,
        "value": (letter.value or 0) / VALUE_SCALE,
    }


def encode_payload(payload: bytes) -> str:
    return b64encode(payload).decode()


def encode_outcome(outcome: ReplayOutcome) -> Json:
    return {"id": str(outcome.id), "result": outcome.result.value, "detail": outcome.detail}


def encode_bulk(outcomes: Sequence[ReplayOutcome]) -> Json:
    """`unchanged` ones were replayed by another request at the same time."""
    return {
        "replayed": sum(outcome.result is Result.REPLAYED for outcome in outcomes),
        "not_replayed": [encode_outcome(outcome) for outcome in outcomes if outcome.result not in DONE],
    }


DEFAULT_LIMIT = 100
_ID = OpenApiParameter("dead_letter_id", {"type": "string", "pattern": r"^\d+-\d+$"}, OpenApiParameter.PATH)
_PARTITION = OpenApiParameter("partition", {"type": "integer"}, OpenApiParameter.PATH)


class DeadLettersView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}
    parameters = ("partition", "state", "reason", "video_id", "start_time", "end_time", "limit", "cursor")

    @extend_schema(
        operation_id="listDeadLetters",
        tags=["operations"],
        summary="Events that could not be counted",
        description="Of all shards, newest first, by the moment they were first refused.",
        parameters=[
            OpenApiParameter("partition", OpenApiTypes.INT),
            OpenApiParameter("state", {"type": "string", "enum": list(DeadLetterState)}),
            OpenApiParameter("reason", OpenApiTypes.STR),
            OpenApiParameter("video_id", OpenApiTypes.STR),
            OpenApiParameter("start_time", OpenApiTypes.DATETIME, description="First refused, inclusive."),
            OpenApiParameter("end_time", OpenApiTypes.DATETIME, description="First refused, exclusive."),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses=DeadLetterPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query, cluster = request.query_params, get_cluster()
        check_parameters(query, allowed=self.parameters)
        video_id = query.get("video_id")
        wanted = DeadLetterFilter(
            partition=find_partition(query, partition_count=cluster.topology.partition_count),
            state=_find_state(query.get("state")),
            reason=_find_reason(query.get("reason")),
            video_id=None if video_id is None else check_id("video_id", video_id),
            start=find_instant(query, "start_time"),
            end=find_instant(query, "end_time"),
        )
        limit = get_limit(query, default=DEFAULT_LIMIT, most=get_config().dead_letters.max_items)
        before = decode_page_key(query.get("cursor"), salt=CURSOR_SALT)
        page = list_dead_letters(cluster, wanted, before=before, limit=limit)
        return Response(encode_page(page, topology=cluster.topology))


class DeadLetterView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getDeadLetter",
        tags=["operations"],
        summary="One dead letter with its payload",
        description="`payload` is what the log held, in Base64, for an event that cannot be read too.",
        parameters=[_ID],
        responses=DeadLetterWithPayloadSerializer,
    )
    def get(self, request: Request, dead_letter_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        cluster = get_cluster()
        found, payload = get_dead_letter(cluster, DeadLetterId.parse(dead_letter_id))
        body = encode_dead_letter(found, topology=cluster.topology)
        return Response(body | {"payload": encode_payload(payload)})


class DeadLetterReplayView(ApiView):
    required_scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="replayDeadLetter",
        tags=["operations"],
        summary="Count an event after all",
        description=(
            "Appends the event to the log again, under its own id: it is counted once however often it is replayed. "
            "A second replay changes nothing. 409: the event cannot be replayed, for the reason in `detail`."
        ),
        parameters=[_ID],
        request=None,
        responses=DeadLetterSerializer,
    )
    def post(self, request: Request, dead_letter_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        cluster, wanted = get_cluster(), DeadLetterId.parse(dead_letter_id)
        rules = ReplayRules(cluster.topology, datetime.now(UTC), get_config().accept.past_seconds)
        outcomes = replay_dead_letters(cluster, get_event_log(), [wanted], actor=get_actor(request), rules=rules)
        _check_outcome(outcomes[0])
        return Response(encode_dead_letter(get_dead_letter(cluster, wanted)[0], topology=cluster.topology))


class DeadLetterDiscardView(ApiView):
    required_scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="discardDeadLetter",
        tags=["operations"],
        summary="Give an event up",
        description="It stays in the list, as discarded. The same again changes nothing.",
        parameters=[_ID],
        request=None,
        responses=DeadLetterSerializer,
    )
    def post(self, request: Request, dead_letter_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        cluster, wanted = get_cluster(), DeadLetterId.parse(dead_letter_id)
        _check_outcome(discard_dead_letters(cluster, [wanted], actor=get_actor(request))[0])
        return Response(encode_dead_letter(get_dead_letter(cluster, wanted)[0], topology=cluster.topology))


class BulkReplayView(ApiView):
    required_scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="replayDeadLetters",
        tags=["operations"],
        summary="Count many events after all",
        description=(
            "Replays matching new dead letters, at most `limit`; the answer has the reason of each that was not. "
            "Pass `next_cursor` with the same body to go on behind them."
        ),
        request=BulkReplaySerializer,
        responses=BulkReplayAnswerSerializer,
    )
    def post(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        body = BulkReplaySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields, cluster = body.validated_data, get_cluster()
        wanted = DeadLetterFilter(
            partition=None if fields["partition"] is None else _check_partition(cluster, fields["partition"]),
            state=DeadLetterState.NEW,
            reason=fields["reason"],
            video_id=fields["video_id"],
            start=fields["start_time"],
            end=fields["end_time"],
        )
        before = decode_page_key(fields["cursor"], salt=CURSOR_SALT)
        page = list_dead_letters(cluster, wanted, before=before, limit=fields["limit"])
        ids = [found.id for found in page.items]
        rules = ReplayRules(cluster.topology, datetime.now(UTC), get_config().accept.past_seconds)
        outcomes = replay_dead_letters(cluster, get_event_log(), ids, actor=get_actor(request), rules=rules)
        return Response(
            {
                **encode_bulk(outcomes),
                "next_cursor": encode_page_key(page.next_key, salt=CURSOR_SALT),
                **encode_missing(page.missing_shards, topology=cluster.topology),
            }
        )


def _check_partition(cluster: ClusterProxy, partition: int) -> int:
    return check_partition(partition, partition_count=cluster.topology.partition_count)


def _check_outcome(outcome: ReplayOutcome) -> None:
    try:
        check_outcome(outcome)
    except DeadLetterNotResolved as error:
        raise StateConflict(str(error), code=error.code) from error


def _find_state(text: str | None) -> DeadLetterState | None:
    if text is None:
        return None
    try:
        return DeadLetterState(text)
    except ValueError:
        allowed = ", ".join(DeadLetterState)
        raise InvalidQuery("state", "unknown_state", f"must be one of: {allowed}") from None


def _find_reason(text: str | None) -> str | None:
    if text is not None and (len(text) > REASON_MAX_CHARACTERS or "\0" in text):
        raise InvalidQuery("reason", "invalid_reason", f"must have at most {REASON_MAX_CHARACTERS} characters")
    return text

"""`/v1/dead-letters`: look at what could not be counted, replay it, discard it; and let stopped partitions go on."""

from datetime import UTC, datetime

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from clusterproxy.proxy import ClusterProxy
from viewcounter.api.answers import encode_missing
from viewcounter.api.authentication import get_actor
from viewcounter.api.errors import StateConflict
from viewcounter.api.parameters import (
    check_id,
    check_parameters,
    check_partition,
    find_instant,
    find_partition,
    get_limit,
)
from viewcounter.api.place_cursor import decode_place, encode_place
from viewcounter.api.resources.base import ApiView
from viewcounter.api.resources.dead_letter_answers import (
    CURSOR_SALT,
    REASON_MAX_CHARACTERS,
    BulkReplayAnswerSerializer,
    BulkReplaySerializer,
    DeadLetterPageSerializer,
    DeadLetterSerializer,
    DeadLetterWithPayloadSerializer,
    ResumeAnswerSerializer,
    ResumeSerializer,
    encode_bulk,
    encode_dead_letter,
    encode_page,
    encode_payload,
)
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.replay import (
    DeadLetterId,
    Outcome,
    build_replay_rules,
    check_outcome,
    discard_dead_letters,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letters,
)
from viewcounter.deadletters.stopped import resume
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.errors import DeadLetterNotResolved
from viewcounter.queries.errors import InvalidQuery
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState

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
        limit = get_limit(query, default=DEFAULT_LIMIT, most=get_config().dead_letters_max_items)
        before = decode_place(query.get("cursor"), salt=CURSOR_SALT)
        page = list_dead_letters(cluster, wanted, before=before, limit=limit)
        return Response(encode_page(page, topology=cluster.topology))


class DeadLetterView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getDeadLetter",
        tags=["operations"],
        summary="One dead letter with its payload",
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
            "The same again changes nothing. 409 says why an event cannot be replayed."
        ),
        parameters=[_ID],
        request=None,
        responses=DeadLetterSerializer,
    )
    def post(self, request: Request, dead_letter_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        cluster, wanted = get_cluster(), DeadLetterId.parse(dead_letter_id)
        rules = build_replay_rules(cluster.topology, get_config(), now=datetime.now(UTC))
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
            "Replays new dead letters that fit, at most `limit` of them, and says of each that was not replayed why. "
            "Pass `next_cursor` with the same body to go on behind them."
        ),
        request=BulkReplaySerializer,
        responses=BulkReplayAnswerSerializer,
        examples=[OpenApiExample("after a type was added", value={"reason": "unknown_event_type", "limit": 500})],
    )
    def post(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        body = BulkReplaySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked, cluster = body.validated_data, get_cluster()
        wanted = DeadLetterFilter(
            partition=None if asked["partition"] is None else _check_partition(cluster, asked["partition"]),
            state=DeadLetterState.NEW,
            reason=asked["reason"],
            video_id=asked["video_id"],
            start=asked["start_time"],
            end=asked["end_time"],
        )
        before = decode_place(asked["cursor"], salt=CURSOR_SALT)
        page = list_dead_letters(cluster, wanted, before=before, limit=asked["limit"])
        ids = [found.id for found in page.items]
        rules = build_replay_rules(cluster.topology, get_config(), now=datetime.now(UTC))
        outcomes = replay_dead_letters(cluster, get_event_log(), ids, actor=get_actor(request), rules=rules)
        return Response(
            {
                **encode_bulk(outcomes),
                "next_cursor": encode_place(page.following, salt=CURSOR_SALT),
                **encode_missing(page.missing_shards, topology=cluster.topology),
            }
        )


class PartitionResumeView(ApiView):
    required_scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="resumePartition",
        tags=["operations"],
        summary="Let a partition that stopped by itself go on",
        description="Find the cause first: the same events stop it again, unless their dead letters are accepted.",
        parameters=[_PARTITION],
        request=ResumeSerializer,
        responses=ResumeAnswerSerializer,
    )
    def post(self, request: Request, partition: int) -> Response:
        check_parameters(request.query_params, allowed=())
        body = ResumeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        cluster = get_cluster()
        _check_partition(cluster, partition)
        has_resumed = resume(cluster, partition, actor=get_actor(request), **body.validated_data)
        return Response({"partition": partition, "resumed": has_resumed})


def _check_partition(cluster: ClusterProxy, partition: int) -> int:
    return check_partition(partition, partition_count=cluster.topology.partition_count)


def _check_outcome(outcome: Outcome) -> None:
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

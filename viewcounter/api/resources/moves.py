"""`GET /v1/moves`: partitions on their way from shard to shard."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from configservice.moves.records import list_moves
from configservice.moves.states import MoveState
from viewcounter.api.pagination import decode_number
from viewcounter.api.parameters import check_parameters, get_limit
from viewcounter.api.resources.base import ApiView
from viewcounter.apikeys.scopes import Scope
from viewcounter.config import get_config
from viewcounter.moves.answers import encode_move

DEFAULT_LIMIT = 20


class MoveSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    partition = serializers.IntegerField()
    to = serializers.CharField(help_text="Shard; the one it comes from is `from`.")
    state = serializers.ChoiceField([state.value for state in MoveState])
    progress = serializers.FloatField(allow_null=True, help_text="Of copying, 0 to 1; null before it has begun.")
    rows_copied = serializers.IntegerField()
    copy_seconds = serializers.FloatField(help_text="Of the copy that was used; 0 before it is complete.")
    held_seconds = serializers.FloatField(allow_null=True, help_text="How long the partition counted nothing.")
    setbacks = serializers.IntegerField(help_text="How often it had to go back a step.")
    error = serializers.CharField(allow_null=True, help_text="What the last attempt at a step ended with.")
    actor = serializers.CharField(help_text="Who started it.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    flipped_at = serializers.DateTimeField(allow_null=True, help_text="From then on it is on its new shard.")
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        """`from` is a word of Python's own."""
        return {**super().get_fields(), "from": serializers.CharField(help_text="Shard.")}


class MovesAnswerSerializer(serializers.Serializer):
    moves = MoveSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for older ones; null: there are none.")


class MovesView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getMoves",
        tags=["operations"],
        summary="Moves of partitions, newest first, with their progress",
        description="Finished ones too. Moves are started by `manage.py move_partitions` or in the admin.",
        parameters=[
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}),
            OpenApiParameter("cursor", {"type": "string", "pattern": r"^\d{1,18}$"}, description="`next_cursor`."),
        ],
        responses=MovesAnswerSerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        check_parameters(query, allowed=("limit", "cursor"))
        limit = get_limit(query, default=DEFAULT_LIMIT, most=get_config().move.max_items)
        found = list_moves(limit=limit + 1, before_id=decode_number(query.get("cursor")))
        page = found[:limit]
        next_cursor = str(page[-1].pk) if len(found) > limit else None
        return Response({"moves": [encode_move(move) for move in page], "next_cursor": next_cursor})

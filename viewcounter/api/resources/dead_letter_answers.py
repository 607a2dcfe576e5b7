"""Dead letters: as JSON objects, as the OpenAPI document describes them, and the cursor of their pages."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from configservice.topology.model import Topology
from viewcounter.api.answers import Json, encode_missing
from viewcounter.api.place_cursor import encode_place
from viewcounter.api.serializers import IdField, RequestSerializer, TextField
from viewcounter.config import get_config
from viewcounter.deadletters.replay import DONE, DeadLetterPage, FoundDeadLetter, Outcome, Result
from viewcounter.events.message import VALUE_SCALE
from viewcounter.queries.ranges import parse_instant
from viewcounter.storage.dead_letters import DeadLetterState

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
    position = serializers.CharField(help_text="`ms-seq` in the partition's log: the end of the flush that refused it.")
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
    """Which new dead letters; everything that is left out is not asked for."""

    partition = serializers.IntegerField(required=False, allow_null=True, default=None)
    reason = TextField(required=False, allow_null=True, default=None, max_length=REASON_MAX_CHARACTERS)
    video_id = IdField(required=False, allow_null=True, default=None)
    start_time = InstantField(required=False, allow_null=True, default=None, help_text="First refused, inclusive.")
    end_time = InstantField(required=False, allow_null=True, default=None, help_text="First refused, exclusive.")
    limit = serializers.IntegerField(min_value=1, help_text="At most so many are replayed, newest first.")
    cursor = TextField(required=False, allow_null=True, default=None, help_text="`next_cursor` of the call before.")

    def validate_limit(self, limit: int) -> int:
        most = get_config().dead_letters_max_items
        if limit > most:
            raise serializers.ValidationError(f"must be at most {most}", code="too_many")
        return limit


class ResumeSerializer(RequestSerializer):
    accept_dead_letters = serializers.IntegerField(
        default=0, min_value=0, max_value=1_000_000, help_text="So many are written whatever the limits say."
    )


class ResumeAnswerSerializer(serializers.Serializer):
    partition = serializers.IntegerField()
    resumed = serializers.BooleanField(help_text="False: it was not stopped.")


def encode_page(page: DeadLetterPage, *, topology: Topology) -> Json:
    return {
        "dead_letters": [encode_dead_letter(found, topology=topology) for found in page.items],
        "next_cursor": encode_place(page.following, salt=CURSOR_SALT),
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


def encode_outcome(outcome: Outcome) -> Json:
    return {"id": str(outcome.id), "result": outcome.result.value, "detail": outcome.detail}


def encode_bulk(outcomes: Sequence[Outcome]) -> Json:
    """`unchanged` ones were replayed by somebody else in the same moment."""
    return {
        "replayed": sum(outcome.result is Result.REPLAYED for outcome in outcomes),
        "not_replayed": [encode_outcome(outcome) for outcome in outcomes if outcome.result not in DONE],
    }

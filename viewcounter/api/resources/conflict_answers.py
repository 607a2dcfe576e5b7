"""Conflicts: as JSON objects, and as the OpenAPI document describes them."""

from typing import Any

from rest_framework import serializers

from configservice.topology.model import Topology
from viewcounter.api.answers import Json, encode_missing
from viewcounter.api.place_cursor import encode_place
from viewcounter.deadletters.conflicts import ConflictPage
from viewcounter.events.message import VALUE_SCALE

CURSOR_SALT = "viewcounter.conflicts"


class ConflictSerializer(serializers.Serializer):
    event_id = serializers.UUIDField(help_text="The id under which another event was counted.")
    video_id = serializers.CharField(help_text="Characters that cannot be stored are shown as U+FFFD.")
    event_type = serializers.CharField(allow_null=True, help_text="Null: no event type has this id any more.")
    event_type_id = serializers.IntegerField()
    occurred_at = serializers.DateTimeField()
    value = serializers.FloatField(help_text="In the unit of the event type.")
    received_at = serializers.DateTimeField()
    partition = serializers.IntegerField()
    position = serializers.CharField(help_text="`ms-seq` in the partition's log: the end of the flush that met it.")
    created_at = serializers.DateTimeField(help_text="When that flush was written.")


class ConflictPageSerializer(serializers.Serializer):
    conflicts = ConflictSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")
    partial = serializers.BooleanField(help_text="True: a shard did not answer.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Names of the shards that are missing.")


def encode_conflict_page(page: ConflictPage, *, topology: Topology) -> Json:
    names = {event_type.id: event_type.name for event_type in topology.event_types}
    conflicts: list[dict[str, Any]] = [
        {
            "event_id": conflict.event_id,
            "video_id": conflict.video_id,
            "event_type": names.get(conflict.event_type_id),
            "event_type_id": conflict.event_type_id,
            "occurred_at": conflict.occurred_at,
            "value": conflict.value / VALUE_SCALE,
            "received_at": conflict.received_at,
            "partition": conflict.partition,
            "position": conflict.position,
            "created_at": conflict.created_at,
        }
        for conflict in page.items
    ]
    return {
        "conflicts": conflicts,
        "next_cursor": encode_place(page.following, salt=CURSOR_SALT),
        **encode_missing(page.missing_shards, topology=topology),
    }

"""Pages of raw events: as JSON objects, and as the OpenAPI document describes them."""

from typing import Any

from rest_framework import serializers

from viewcounter.api.answers import Json, encode_meta
from viewcounter.api.serializers import MetaSerializer
from viewcounter.queries.raw_events import RawPage


class RawEventSerializer(serializers.Serializer):
    event_id = serializers.UUIDField()
    event_type = serializers.CharField()
    occurred_at = serializers.DateTimeField()
    received_at = serializers.DateTimeField()
    value = serializers.FloatField(help_text="In the unit of the event type; 1 where it has none.")


class RawPageSerializer(serializers.Serializer):
    video_id = serializers.CharField()
    start_time = serializers.DateTimeField(allow_null=True, help_text="Inclusive; null: open.")
    end_time = serializers.DateTimeField(allow_null=True, help_text="Exclusive; null: open.")
    kept_from = serializers.DateTimeField(
        allow_null=True, help_text="Events received before this are no longer kept one by one."
    )
    events = RawEventSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")
    meta = MetaSerializer()


def encode_raw_page(page: RawPage, *, next_cursor: str | None) -> Json:
    events: list[dict[str, Any]] = [
        {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "occurred_at": event.occurred_at,
            "received_at": event.received_at,
            "value": event.value,
        }
        for event in page.events
    ]
    return {
        "video_id": page.question.video_id,
        "start_time": page.question.start,
        "end_time": page.question.end,
        "kept_from": page.kept_from,
        "events": events,
        "next_cursor": next_cursor,
        "meta": encode_meta(page.meta),
    }

"""An event as clients send it, with the limits of viewcounter."""

from rest_framework import serializers

from devtools.bench.peers.models import EventType


class EventSerializer(serializers.Serializer):
    event_id = serializers.UUIDField()
    video_id = serializers.CharField(max_length=128)
    event_type = serializers.ChoiceField(choices=EventType.choices)
    occurred_at = serializers.DateTimeField()
    value = serializers.FloatField(min_value=0, max_value=1_000_000, default=0)

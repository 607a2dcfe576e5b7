"""Recounts: what asks for one, and how one looks in the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from viewcounter.api.resources.audit_answers import DifferenceSerializer
from viewcounter.api.serializers import IdField, RequestSerializer
from viewcounter.maintenance.models import RecountState


class RecountRequestSerializer(RequestSerializer):
    """Exactly one of `video_id` and `partition`."""

    video_id = IdField(required=False, allow_null=True, default=None)
    partition = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, max_value=32_767)
    apply = serializers.BooleanField(default=False, help_text="Correct what differs. Without: only show it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["video_id"] is None) == (attrs["partition"] is None):
            raise serializers.ValidationError("Name a video_id or a partition, not both.", code="one_target")
        return attrs


class RecountSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    video_id = serializers.CharField(allow_null=True, help_text="Null: every video of the partition.")
    partition = serializers.IntegerField()
    apply = serializers.BooleanField()
    actor = serializers.CharField(help_text="Who asked for it.")
    state = serializers.ChoiceField(choices=RecountState.choices)
    videos_done = serializers.IntegerField()
    videos_total = serializers.IntegerField(allow_null=True, help_text="Null: not known yet.")
    difference_counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="Tier -> rows that differ, or were corrected."
    )
    differences = DifferenceSerializer(many=True, help_text="The first of each tier: before and after.")
    error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class RecountListSerializer(serializers.Serializer):
    recounts = RecountSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for older ones; null: there are none.")

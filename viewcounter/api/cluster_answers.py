"""Bodies of `/v1/cluster`: how the cluster stands, and how it came to be so."""

from typing import Any

from rest_framework import serializers

from configservice.history import HistoryEntry


class ChangeSerializer(serializers.Serializer):
    kind = serializers.CharField(help_text="`cluster`, `shard`, `instance`, `partition` or `event_type`.")
    name = serializers.CharField(allow_blank=True)
    field = serializers.CharField(allow_blank=True, help_text="Empty where the thing itself came or went.")
    before = serializers.JSONField(help_text="null: there was none.")
    after = serializers.JSONField(help_text="null: there is none any more.")


class HistoryEntrySerializer(serializers.Serializer):
    epoch = serializers.IntegerField(min_value=1)
    at = serializers.DateTimeField()
    actor = serializers.CharField(help_text="Who changed it.")
    reason = serializers.CharField(help_text="Why.")
    changes = ChangeSerializer(many=True)


class HistorySerializer(serializers.Serializer):
    entries = HistoryEntrySerializer(many=True, help_text="Newest first.")
    next_cursor = serializers.CharField(allow_null=True, help_text="null: this is the beginning.")


def encode_history(entries: list[HistoryEntry], *, next_cursor: str | None) -> dict[str, Any]:
    return {"entries": [_encode_entry(entry) for entry in entries], "next_cursor": next_cursor}


def _encode_entry(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "epoch": entry.epoch,
        "at": entry.at,
        "actor": entry.actor,
        "reason": entry.reason,
        "changes": [
            {"kind": c.kind, "name": c.name, "field": c.field, "before": c.before, "after": c.after}
            for c in entry.changes
        ],
    }

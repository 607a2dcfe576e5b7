"""Receipts: as JSON objects, and as the OpenAPI document describes them."""

from rest_framework import serializers

from viewcounter.api.answers import Json, encode_meta
from viewcounter.api.serializers import MetaSerializer
from viewcounter.queries.receipts import Receipt, ReceiptState

STATES = (
    "`pending`: in the log, not judged yet. `applied`: counted. `duplicate`: an earlier copy is counted. `conflict`: "
    "another event had the id first, this one is not counted (`GET /v1/conflicts`). `dead_letter`: it could not be "
    "counted, see `reason` (`GET /v1/dead-letters`). `unknown`: neither the shard nor the log knows it: never "
    "accepted, on the disk of a gateway, or longer ago than ids are kept."
)


class ReceiptSerializer(serializers.Serializer):
    event_id = serializers.UUIDField()
    video_id = serializers.CharField()
    state = serializers.ChoiceField(choices=list(ReceiptState), help_text=STATES)
    reason = serializers.CharField(allow_null=True, help_text="Of a dead letter; null otherwise.")
    occurred_at = serializers.DateTimeField(allow_null=True, help_text="As counted; null unless the event is kept.")
    received_at = serializers.DateTimeField(allow_null=True, help_text="Of the copy that is counted.")
    partition = serializers.IntegerField(min_value=0)
    applied_through = serializers.CharField(help_text="Everything up to this position of the partition is judged.")
    meta = MetaSerializer()


def encode_receipt(receipt: Receipt) -> Json:
    return {
        "event_id": receipt.question.event_id,
        "video_id": receipt.question.video_id,
        "state": receipt.state.value,
        "reason": receipt.reason,
        "occurred_at": receipt.occurred_at,
        "received_at": receipt.received_at,
        "partition": receipt.partition,
        "applied_through": str(receipt.applied_through),
        "meta": encode_meta(receipt.meta),
    }

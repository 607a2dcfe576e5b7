"""`GET /v1/audit`: what became of every event of an hour, and whether it is all still there."""

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.answers import Json
from viewcounter.api.parameters import check_parameters, get_required
from viewcounter.api.resources.base import ApiView
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.maintenance.audit import ClusterAudit, Comparison, Finding, HourAudit, audit_cluster
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import parse_instant
from viewcounter.storage.audit import Difference, Figures

_NAMES = ("received", "counted", "duplicate", "conflict", "dead_lettered")


class LedgerSerializer(serializers.Serializer):
    received = serializers.IntegerField(help_text="counted + duplicate + conflict + dead_lettered")
    counted = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    conflict = serializers.IntegerField()
    dead_lettered = serializers.IntegerField()


class FiguresSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    sum = serializers.IntegerField(help_text="Thousandths, as min and max.")
    min = serializers.IntegerField()
    max = serializers.IntegerField()


class DifferenceSerializer(serializers.Serializer):
    tier = serializers.ChoiceField(choices=["minute", "quarter", "hour", "day", "total"])
    video_id = serializers.CharField()
    event_type_id = serializers.IntegerField()
    start = serializers.DateTimeField(allow_null=True, help_text="Null for totals.")
    found = FiguresSerializer(allow_null=True, help_text="Null: no row.")
    expected = FiguresSerializer(allow_null=True, help_text="Null: there should be no row.")


class FindingSerializer(serializers.Serializer):
    comparison = serializers.ChoiceField(choices=[comparison.value for comparison in Comparison])
    drift_events = serializers.IntegerField(help_text="By how many events; 0 when only values or identities differ.")
    text = serializers.CharField()
    differences = DifferenceSerializer(many=True)


class PartitionAuditSerializer(LedgerSerializer):
    partition = serializers.IntegerField()
    digest = serializers.CharField(help_text="Sum mod 2^64 of hash64 of the ids counted, decimal.")
    raw_count = serializers.IntegerField(allow_null=True, help_text="Null: some raw events have expired.")
    raw_digest = serializers.CharField(allow_null=True)
    raw_difference = serializers.IntegerField(allow_null=True, help_text="raw_count - counted")
    aggregate_tier = serializers.ChoiceField(
        choices=["minute", "hour"], allow_null=True, help_text="Null: both tiers have expired."
    )
    aggregate_count = serializers.IntegerField(allow_null=True)
    aggregate_difference = serializers.IntegerField(allow_null=True, help_text="aggregate_count - counted")
    balances = serializers.BooleanField()
    findings = FindingSerializer(many=True)


class MissingShardSerializer(serializers.Serializer):
    shard = serializers.CharField()
    partitions = serializers.ListField(child=serializers.IntegerField())


class AuditAnswerSerializer(serializers.Serializer):
    hour = serializers.DateTimeField()
    balances = serializers.BooleanField(help_text="Everything was compared and is equal.")
    totals = LedgerSerializer(help_text="Over the partitions that answered.")
    partitions = PartitionAuditSerializer(many=True)
    missing = MissingShardSerializer(many=True, help_text="Shards that did not answer; never counted as zero.")


def encode_audit(audit: ClusterAudit) -> Json:
    return {
        "hour": audit.hour,
        "balances": audit.balances,
        "totals": {name: sum(getattr(part.ledger, name) for part in audit.partitions) for name in _NAMES},
        "partitions": [_encode_partition(part) for part in audit.partitions],
        "missing": [{"shard": name, "partitions": list(left)} for name, left in audit.missing.items()],
    }


def _encode_partition(audit: HourAudit) -> Json:
    ledger, raw, aggregate = audit.ledger, audit.raw, audit.aggregate_count
    return {
        "partition": audit.partition,
        **{name: getattr(ledger, name) for name in _NAMES},
        "digest": str(ledger.digest),
        "raw_count": raw and raw.count,
        "raw_digest": raw and str(raw.digest),
        "raw_difference": raw and raw.count - ledger.counted,
        "aggregate_tier": audit.tier,
        "aggregate_count": aggregate,
        "aggregate_difference": None if aggregate is None else aggregate - ledger.counted,
        "balances": audit.balances,
        "findings": [_encode_finding(finding) for finding in audit.findings],
    }


def _encode_finding(finding: Finding) -> Json:
    return {
        "comparison": finding.comparison.value,
        "drift_events": finding.drift_events,
        "text": finding.text,
        "differences": [_encode_difference(row) for row in finding.differences],
    }


def _encode_difference(row: Difference) -> Json:
    return {
        "tier": row.tier,
        "video_id": row.video_id,
        "event_type_id": row.event_type_id,
        "start": row.start,
        "found": _encode_figures(row.found),
        "expected": _encode_figures(row.expected),
    }


def _encode_figures(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {"count": figures.count, "sum": figures.sum, "min": figures.min, "max": figures.max}


class AuditView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getAudit",
        tags=["operations"],
        summary="The ledger of an hour, compared with raw events and aggregates",
        description=(
            "For each partition, in one snapshot of its shard: received = counted + duplicate + conflict + "
            "dead-lettered; the raw events (number and digest of ids) and the aggregates say the same; and which rows "
            "differ if not. Right at any moment, also for the hour under way."
        ),
        parameters=[
            OpenApiParameter(
                "hour", OpenApiTypes.DATETIME, required=True, description="Start of an hour in UTC, by event time."
            )
        ],
        responses=AuditAnswerSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=("hour",))
        config = get_config()
        audit = audit_cluster(
            get_cluster(),
            hour=_parse_hour(get_required(request.query_params, "hour")),
            limits=config.audit,
            deadline_seconds=config.audit.request_seconds,
        )
        return Response(encode_audit(audit))


def _parse_hour(text: str) -> datetime:
    hour = parse_instant("hour", text).astimezone(UTC)
    if hour != hour.replace(minute=0, second=0, microsecond=0):
        raise InvalidQuery("hour", "not_an_hour", "must be the start of an hour in UTC")
    return hour

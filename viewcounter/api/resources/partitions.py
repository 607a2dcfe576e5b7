"""`/v1/partitions`: how far the counts are behind the events, by partition; and letting one that stopped go on."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.authentication import get_actor
from viewcounter.api.parameters import check_parameters, check_partition
from viewcounter.api.resources.base import ApiView
from viewcounter.api.serializers import RequestSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.deadletters.stopped import resume
from viewcounter.eventlog.registry import get_event_log
from viewcounter.maintenance.lag import ClusterLag, read_lag

_PARTITION = OpenApiParameter("partition", {"type": "integer"}, OpenApiParameter.PATH)


class PartitionLagSerializer(serializers.Serializer):
    partition = serializers.IntegerField()
    shard = serializers.CharField()
    state = serializers.CharField(help_text="`owned`: its events are applied; any other word: they wait.")
    position = serializers.CharField(help_text="`term-seq`: everything in the log up to here has been applied.")
    watermark = serializers.DateTimeField(help_text="`complete_until` of answers that read this partition.")
    events_behind = serializers.IntegerField(help_text="Events in the log past the position.")
    bytes_behind = serializers.IntegerField(help_text="Their size on the log server, an estimate.")
    seconds_behind = serializers.FloatField(help_text="Age of the oldest of them, by the log server's clock.")
    watermark_age_seconds = serializers.FloatField()
    owner = serializers.CharField(
        allow_null=True, help_text="Host, pid and name of the pull process that drains it, which may have ended."
    )


class PartitionsAnswerSerializer(serializers.Serializer):
    measured_at = serializers.DateTimeField(help_text="The log server's clock.")
    events_behind = serializers.IntegerField(help_text="Sum over the partitions named.")
    bytes_behind = serializers.IntegerField(help_text="Sum over the partitions named.")
    seconds_behind = serializers.FloatField(help_text="The largest of them.")
    partitions = PartitionLagSerializer(many=True)
    missing = serializers.ListField(
        child=serializers.IntegerField(), help_text="Partitions whose shard did not answer: nothing is known of them."
    )


class PartitionsView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getPartitions",
        tags=["health"],
        summary="Position, lag and watermark of every partition",
        description="Measured for this request. Partitions of a shard that does not answer are in `missing`.",
        responses=PartitionsAnswerSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        return Response(encode_lag(read_lag(get_cluster(), get_event_log())))


def encode_lag(lag: ClusterLag) -> dict[str, Any]:
    return {
        "measured_at": lag.measured_at,
        "events_behind": lag.events_behind,
        "bytes_behind": lag.bytes_behind,
        "seconds_behind": lag.seconds_behind,
        "partitions": [
            {
                "partition": p.partition,
                "shard": p.shard,
                "state": p.state,
                "position": p.position,
                "watermark": p.watermark,
                "events_behind": p.events_behind,
                "bytes_behind": p.bytes_behind,
                "seconds_behind": p.seconds_behind,
                "watermark_age_seconds": p.watermark_age_seconds,
                "owner": p.owner,
            }
            for p in lag.partitions
        ],
        "missing": list(lag.missing),
    }


class ResumeSerializer(RequestSerializer):
    accept_dead_letters = serializers.IntegerField(
        default=0, min_value=0, max_value=1_000_000, help_text="So many are written whatever the limits say."
    )


class ResumeAnswerSerializer(serializers.Serializer):
    partition = serializers.IntegerField()
    resumed = serializers.BooleanField(help_text="False: it was not stopped.")


class PartitionResumeView(ApiView):
    required_scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="resumePartition",
        tags=["operations"],
        summary="Resume a partition that has stopped",
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
        check_partition(partition, partition_count=cluster.topology.partition_count)
        has_resumed = resume(cluster, partition, actor=get_actor(request), **body.validated_data)
        return Response({"partition": partition, "resumed": has_resumed})

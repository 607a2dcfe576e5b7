"""`/v1/cluster`: for operators and their programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from configservice.failover.durability import DurabilityState
from configservice.failover.records import Condition
from configservice.failover.shard_reports import ShardReport
from configservice.failover.state import FINISHED, FailoverKind, FailoverState
from configservice.models import LogLoss
from configservice.registry.services import RegisteredService, ServiceKind, ServiceState
from configservice.topology.history import HistoryEntry, read_history
from configservice.topology.model import Durability, Role, StandbyLoss, Topology
from viewcounter.api.pagination import decode_number
from viewcounter.api.parameters import check_parameters, get_integer
from viewcounter.api.resources.base import ApiView
from viewcounter.api.resources.health import get_readiness_probe
from viewcounter.apikeys.scopes import Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.eventlog.usage_trend import LogMemory
from viewcounter.health.cluster_health import InstanceCondition, ShardHealth, Status, probe_cluster
from viewcounter.health.log_losses import find_losses
from viewcounter.health.registration import find_services
from viewcounter.health.shard_condition import UNKNOWN, encode_report, find_reports
from viewcounter.health.shard_status import classify_shard
from viewcounter.queries.errors import InvalidQuery


class ChangeSerializer(serializers.Serializer):
    kind = serializers.CharField(help_text="`cluster`, `shard`, `instance`, `partition` or `event_type`.")
    name = serializers.CharField(allow_blank=True)
    field = serializers.CharField(allow_blank=True, help_text="Empty where the thing itself came or went.")
    before = serializers.JSONField(help_text="null: there was none.")
    after = serializers.JSONField(help_text="null: it was removed.")


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


class InstanceStandingSerializer(serializers.Serializer):
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=[role.value for role in Role])
    host = serializers.CharField()
    port = serializers.IntegerField()
    database = serializers.CharField()
    zone = serializers.CharField()
    promotable = serializers.BooleanField(
        help_text="It may become primary; the event log keeps what it has not replayed."
    )
    drained = serializers.BooleanField(help_text="It is neither read from nor waited for.")
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    reason = serializers.CharField(allow_blank=True)
    lag_seconds = serializers.FloatField(allow_null=True, help_text="Behind its primary; null: unknown.")
    schema_version = serializers.CharField(allow_null=True, help_text="null: unknown.")


class DurabilitySerializer(serializers.Serializer):
    mode = serializers.ChoiceField(choices=[mode.value for mode in Durability])
    quorum = serializers.IntegerField(help_text="Replicas a commit waits for; for mode `quorum` only.")
    on_standby_loss = serializers.ChoiceField(choices=[rule.value for rule in StandbyLoss])
    state = serializers.ChoiceField(choices=[state.value for state in DurabilityState])
    reason = serializers.CharField(allow_blank=True)


class OpenFailoverSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(choices=[kind.value for kind in FailoverKind])
    state = serializers.ChoiceField(choices=[state.value for state in FailoverState if state not in FINISHED])
    old_primary = serializers.CharField(allow_blank=True)
    candidate = serializers.CharField(allow_null=True, help_text="null: none is chosen yet.")
    requested_at = serializers.DateTimeField()


class MovingSerializer(serializers.Serializer):
    """Partitions whose move has not ended."""

    out = serializers.IntegerField(min_value=0)
    into = serializers.IntegerField(min_value=0)


class KeptLogSerializer(serializers.Serializer):
    """Entries that the event log keeps for replicas that are away; see docs/operations/event-log.md."""

    kept_for = serializers.ListField(child=serializers.CharField(), help_text="Names of instances; empty: none.")
    kept_bytes = serializers.IntegerField(allow_null=True, help_text="Of the shard's entries; null: not known.")
    share_bytes = serializers.IntegerField(allow_null=True, help_text="At this size absent replicas are excluded.")
    full_seconds = serializers.FloatField(allow_null=True, help_text="Until then; null: it does not grow.")


class ShardHealthSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(
        choices=[status.value for status in Status], help_text="The worst of its condition, its durability and its log."
    )
    reason = serializers.CharField(allow_blank=True, help_text="Of each; empty: all is well.")
    term = serializers.IntegerField(help_text="Grows at every change of primary.")
    primary = serializers.CharField(allow_null=True, help_text="null: a failover is under way.")
    partitions = serializers.ListField(child=serializers.IntegerField())
    condition = serializers.ChoiceField(
        choices=[*(condition.value for condition in Condition), UNKNOWN],
        help_text="As the leading config service sees it; `unknown`: none has said anything lately.",
    )
    condition_detail = serializers.CharField(allow_blank=True)
    condition_since = serializers.DateTimeField(allow_null=True)
    failover = OpenFailoverSerializer(allow_null=True, help_text="A change of primary that is under way.")
    moving = MovingSerializer(allow_null=True, help_text="null: the control database does not answer.")
    kept_log = KeptLogSerializer(allow_null=True, help_text="null: the control database does not answer.")
    durability = DurabilitySerializer()
    instances = InstanceStandingSerializer(many=True)


class ServiceSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(choices=[kind.value for kind in ServiceKind])
    host = serializers.CharField()
    pid = serializers.IntegerField()
    zone = serializers.CharField()
    version = serializers.CharField()
    state = serializers.ChoiceField(
        choices=[state.value for state in ServiceState], help_text="`lost`: no heartbeat for a while."
    )
    detail = serializers.CharField(allow_blank=True)
    epoch = serializers.IntegerField(allow_null=True, help_text="Of the topology it acts on; null: it needs none.")
    public_keys = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="Ids of the keys by which it accepts a topology; empty: it verifies no signature; null: it does not"
        " tell.",
    )
    started_at = serializers.DateTimeField()
    last_heartbeat_at = serializers.DateTimeField(help_text="By the cache server's clock.")
    heartbeat_age_seconds = serializers.FloatField()


class LogLossSerializer(serializers.Serializer):
    """Entries of a partition past a position that no shard had applied, and that the log has lost."""

    partition = serializers.IntegerField()
    shard = serializers.CharField()
    after = serializers.CharField(help_text="The last entry that was applied before the loss.")
    found_at = serializers.DateTimeField()
    actor = serializers.CharField()
    reason = serializers.CharField()


class LogMemorySerializer(serializers.Serializer):
    used_bytes = serializers.IntegerField(min_value=0)
    max_bytes = serializers.IntegerField(min_value=0)
    full_seconds = serializers.FloatField(
        allow_null=True, min_value=0, help_text="Until all of it is in use, at the growth of the last minutes."
    )


class LogSerializer(serializers.Serializer):
    id = serializers.CharField(
        allow_blank=True, help_text="The log that the server must hold; empty: none was created."
    )
    losses = LogLossSerializer(many=True, allow_null=True, help_text="Newest first; null: not known right now.")
    memory = LogMemorySerializer(
        allow_null=True, help_text="Of the log's server; null: it does not answer, or has no limit."
    )


class ClusterSerializer(serializers.Serializer):
    cluster_id = serializers.CharField()
    epoch = serializers.IntegerField(help_text="Of the topology that the answering process acts on.")
    partition_count = serializers.IntegerField()
    log = LogSerializer()
    shards = ShardHealthSerializer(many=True)
    services = ServiceSerializer(many=True)
    missing = serializers.ListField(
        child=serializers.CharField(),
        help_text="`services`: the registry does not answer; `conditions`: the control database does not answer. "
        "Instances report it themselves.",
    )


def encode_cluster(
    topology: Topology,
    shards: Sequence[ShardHealth],
    services: Sequence[RegisteredService] | None,
    reports: Mapping[str, ShardReport] | None,
    *,
    losses: Sequence[LogLoss] | None,
    memory: LogMemory | None,
) -> dict[str, Any]:
    return {
        "cluster_id": topology.cluster_id,
        "epoch": topology.epoch,
        "partition_count": topology.partition_count,
        "log": {
            "id": topology.log_id,
            "losses": None if losses is None else [_encode_loss(loss) for loss in losses],
            "memory": None if memory is None else asdict(memory),
        },
        "shards": [_encode_shard(health, (reports or {}).get(health.shard.name)) for health in shards],
        "services": [_encode_service(registered) for registered in services or ()],
        "missing": [name for name, found in (("services", services), ("conditions", reports)) if found is None],
    }


def _encode_loss(loss: LogLoss) -> dict[str, Any]:
    return {
        "partition": loss.partition,
        "shard": loss.shard,
        "after": loss.position,
        "found_at": loss.found_at,
        "actor": loss.actor,
        "reason": loss.reason,
    }


def _encode_shard(health: ShardHealth, report: ShardReport | None) -> dict[str, Any]:
    shard = health.shard
    condition = classify_shard(health, report)
    return {
        "id": shard.id,
        "name": shard.name,
        "status": condition.status,
        "reason": condition.reason,
        "term": shard.term,
        "primary": None if shard.primary is None else shard.primary.name,
        "partitions": health.partitions,
        **encode_report(report),
        "durability": {
            "mode": shard.durability,
            "quorum": shard.quorum,
            "on_standby_loss": shard.on_standby_loss,
            "state": health.durability,
            "reason": health.durability_reason,
        },
        "instances": [_encode_instance(instance) for instance in health.instances],
    }


def _encode_instance(condition: InstanceCondition) -> dict[str, Any]:
    names = ("name", "role", "host", "port", "database", "zone", "promotable", "drained")
    return {
        **{name: getattr(condition.instance, name) for name in names},
        "status": condition.status,
        "reason": condition.reason,
        "lag_seconds": None if condition.lag_seconds is None else round(condition.lag_seconds, 3),
        "schema_version": condition.schema_version,
    }


def _encode_service(registered: RegisteredService) -> dict[str, Any]:
    names = ("kind", "host", "pid", "zone", "version", "state", "detail", "epoch", "public_keys", "started_at")
    return {
        **{name: getattr(registered.service, name) for name in names},
        "last_heartbeat_at": registered.last_heartbeat_at,
        "heartbeat_age_seconds": round(registered.age_seconds, 3),
    }


HISTORY_DEFAULT_LIMIT = 20


class ClusterView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getCluster",
        tags=["operations"],
        summary="Shards, instances and processes, as they are right now",
        description="Every instance is probed; one that does not answer is `down`, with the reason.",
        responses=ClusterSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        config = get_config()
        topology, shards = probe_cluster(
            get_cluster(),
            timeout_seconds=config.readiness.probe_seconds,
            max_lag_seconds=config.cluster.replica_max_lag_seconds,
        )
        reports = find_reports(timeout_seconds=config.readiness.probe_seconds)
        losses = find_losses(timeout_seconds=config.readiness.probe_seconds)
        memory = get_readiness_probe().read_log_memory(get_event_log())
        return Response(encode_cluster(topology, shards, find_services(), reports, losses=losses, memory=memory))


class ClusterHistoryView(ApiView):
    required_scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="getClusterHistory",
        tags=["operations"],
        summary="Every change of the cluster: who, when, why, before and after",
        description="One entry an epoch, newest first. Pass `next_cursor` as `cursor` for older ones.",
        parameters=[
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "default": HISTORY_DEFAULT_LIMIT}),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses=HistorySerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        check_parameters(query, allowed=("limit", "cursor"))
        limit, most = get_integer(query, "limit", default=HISTORY_DEFAULT_LIMIT), get_config().api.history_max_epochs
        if not 1 <= limit <= most:
            raise InvalidQuery("limit", "out_of_range", f"must be 1 to {most}")
        entries = read_history(limit=limit, before_epoch=decode_number(query.get("cursor")))
        # The oldest epoch is the first: numbers are given without gaps, and none is ever removed.
        has_more = bool(entries) and entries[-1].epoch > 1
        return Response(encode_history(entries, next_cursor=str(entries[-1].epoch) if has_more else None))

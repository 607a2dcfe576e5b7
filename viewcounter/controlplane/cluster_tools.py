"""Dependencies of the config service for adding servers: connections, shard tables, floors of the event log."""

from collections.abc import Mapping, Sequence

from configservice.errors import LogUnavailable, ShardNotPrepared
from configservice.failover.kept_log import LogPosition
from configservice.join.dependencies import ClusterTools, Progress
from configservice.models import Cluster
from configservice.topology.allow_list import parse_allow_list
from configservice.topology.model import Instance, Shard
from viewcounter.config import get_config
from viewcounter.controlplane.config_service import OperatorConnection
from viewcounter.controlplane.shard_schema import ShardMigrationFailed, prepare_new_shard
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.registry import get_event_log
from viewcounter.storage.partitions import EXPECTED_SCHEMA_VERSION


def build_cluster_tools() -> ClusterTools:
    """Reads the settings at each call. Django's setting CLUSTER_TOOLS names this function."""
    config = get_config()
    return ClusterTools(
        allow_list=parse_allow_list(config.configservice.instance_allow_list),
        answer_seconds=config.configservice.instance_answer_seconds,
        max_lag_bytes=config.configservice.rejoin_max_lag_bytes,
        schema_version=EXPECTED_SCHEMA_VERSION,
        connect=_connect,
        prepare_shard=_prepare_shard,
        read_floors=_read_floors,
    )


def _connect(instance: Instance, *, address: str = "", as_operator: bool = False) -> OperatorConnection:
    config = get_config()
    return OperatorConnection(
        instance,
        config.pool,
        user=config.configservice.user if as_operator else "",
        password_ref=config.configservice.password_ref,
        address=address,
    )


def _prepare_shard(shard: Shard, *, cluster_id: str, address: str, progress: Progress) -> None:
    generation = Cluster.objects.values_list("generation", flat=True).get()
    try:
        prepare_new_shard(shard, cluster_id=cluster_id, generation=generation, address=address, progress=progress)
    except ShardMigrationFailed as error:
        raise ShardNotPrepared(str(error)) from error


def _read_floors(partitions: Sequence[int]) -> Mapping[int, LogPosition]:
    try:
        return get_event_log().read_floors(partitions)
    except EventLogError as error:
        raise LogUnavailable(str(error)) from error

"""The report of a gateway, read by this process itself. Django must be set up."""

from dataclasses import asdict

from clusterproxy.errors import ClusterProxyError
from configservice.registry.services import list_key_holders
from devtools.status.cluster_report import NO_CONDITIONS, ClusterReport, build_lag, describe_missing
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.registry import get_event_log
from viewcounter.eventlog.usage_trend import UsageTrend
from viewcounter.health.cluster_health import probe_cluster
from viewcounter.health.registration import find_services
from viewcounter.health.shard_condition import find_reports
from viewcounter.health.shard_status import classify_shard, encode_shard
from viewcounter.maintenance.lag import read_lag


def read_report(*, within_seconds: float) -> ClusterReport:
    """`within_seconds`: time limit for the control database."""
    shards, shards_error = _read_shards(within_seconds=within_seconds)
    key_holders = list_key_holders(find_services() or ())
    try:
        lag = read_lag(get_cluster(), get_event_log())
    except (EventLogError, ClusterProxyError, ShardProxyError) as error:
        return ClusterReport(
            shards, shards_error, lag_error=f"{type(error).__name__}: {error}", key_holders=key_holders
        )
    return ClusterReport(
        shards,
        shards_error,
        lag=build_lag([asdict(partition) for partition in lag.partitions], missing=lag.missing),
        lag_error=describe_missing(lag.missing),
        log_memory=_read_log_memory(),
        key_holders=key_holders,
    )


def _read_log_memory() -> dict[str, object] | None:
    """Without the time until it is full, which takes several readings."""
    try:
        memory = UsageTrend().add(get_event_log().read_usage(()), at=0.0)
    except EventLogError:
        return None
    return None if memory is None else asdict(memory)


def _read_shards(*, within_seconds: float) -> tuple[list[dict[str, object]], str | None]:
    """The conditions recorded by the config service, and the results of probing the instances."""
    config = get_config()
    reports = find_reports(timeout_seconds=within_seconds)
    try:
        _, shard_healths = probe_cluster(
            get_cluster(),
            timeout_seconds=config.readiness.probe_seconds,
            max_lag_seconds=config.cluster.replica_max_lag_seconds,
        )
    except ClusterProxyError as error:
        return [], f"{type(error).__name__}: {error}"
    shards = [encode_shard(classify_shard(shard, (reports or {}).get(shard.shard.name))) for shard in shard_healths]
    return shards, NO_CONDITIONS if reports is None else None

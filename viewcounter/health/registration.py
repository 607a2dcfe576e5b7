"""Registers viewcounter's processes in the service registry, and publishes its content as metrics."""

from collections import Counter
from collections.abc import Callable

from django.conf import settings

from clusterproxy.errors import ClusterProxyError
from configservice.errors import ClusterUnknown, RegistryUnavailable
from configservice.registry.heartbeat import Heartbeat, ProcessCondition, start_heartbeat
from configservice.registry.services import RegisteredService, ServiceKind, ServiceState, read_services
from configservice.topology.cluster_cache import get_cluster_cache
from runtime.metrics import SERVICES
from runtime.shutdown import is_stopping
from viewcounter.cluster import get_cluster


def find_services() -> list[RegisteredService] | None:
    """All registered processes; None while the registry does not answer."""
    try:
        return read_services(get_cluster_cache(), lost_seconds=settings.SERVICE_LOST_SECONDS)
    except (RegistryUnavailable, ClusterUnknown):
        return None


def publish_services(services: list[RegisteredService] | None) -> None:
    """Set the gauges, also to 0 for kinds and states without a process. They keep their last value for None."""
    if services is None:
        return
    counts = Counter((r.service.kind, r.service.state) for r in services)
    for kind in ServiceKind:
        for state in ServiceState:
            SERVICES.labels(kind, state).set(counts[kind, state])


def start_gateway_heartbeat() -> Heartbeat:
    return start_heartbeat(kind=ServiceKind.GATEWAY, describe=describe_gateway)


def start_admin_heartbeat() -> Heartbeat:
    return start_heartbeat(kind=ServiceKind.ADMIN, describe=describe_gateway)


def start_worker_heartbeat() -> Heartbeat:
    """For the main process of a worker, which represents its pool. It routes nothing, so it has no topology."""
    return start_heartbeat(kind=ServiceKind.WORKER, describe=describe_worker)


def start_shard_proxy_heartbeat(describe: Callable[[], ProcessCondition]) -> Heartbeat:
    return start_heartbeat(kind=ServiceKind.SHARD_PROXY, describe=describe)


def describe_gateway() -> ProcessCondition:
    """Impaired while the process has no topology: it refuses events, and admin pages that read shards are empty."""
    try:
        return ProcessCondition(epoch=get_cluster().topology.epoch)
    except ClusterProxyError as error:
        return ProcessCondition(ServiceState.IMPAIRED, detail=str(error))


def describe_worker() -> ProcessCondition:
    return ProcessCondition(ServiceState.STOPPING if is_stopping() else ServiceState.SERVING)

"""How the processes of viewcounter take part in the service registry."""

from clusterproxy.errors import ClusterProxyError
from configservice.heartbeat import Condition, Heartbeat, start_heartbeat
from configservice.services import ServiceKind, ServiceState
from viewcounter.cluster import get_cluster
from viewcounter.processing.stopping import is_stopping


def start_gateway_heartbeat() -> Heartbeat:
    return start_heartbeat(kind=ServiceKind.GATEWAY, describe=describe_gateway)


def start_worker_heartbeat() -> Heartbeat:
    """For a worker's main process, which stands for its pool: it routes nothing itself, so it holds no topology."""
    return start_heartbeat(kind=ServiceKind.WORKER, describe=describe_worker)


def start_scheduler_heartbeat() -> Heartbeat:
    return start_heartbeat(kind=ServiceKind.SCHEDULER)


def describe_gateway() -> Condition:
    """Impaired while it has no topology: it refuses events then."""
    try:
        return Condition(epoch=get_cluster().topology.epoch)
    except ClusterProxyError as error:
        return Condition(ServiceState.IMPAIRED, detail=str(error))


def describe_worker() -> Condition:
    return Condition(ServiceState.STOPPING if is_stopping() else ServiceState.SERVING)

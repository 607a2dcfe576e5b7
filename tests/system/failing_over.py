"""Observes a shard during a failover: its primary by the topology, and whether the cluster is healthy."""

from typing import Any

from configservice.registry.services import ServiceState
from devtools.localcluster import LocalCluster
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.health.registration import find_services


def get_shard(name: str) -> Any:
    get_cluster().refresh_topology()
    return next(shard for shard in get_cluster().topology.shards if shard.name == name)


def get_primary(name: str) -> str:
    primary = get_shard(name).primary
    return "" if primary is None else primary.name


def read_roles(name: str) -> dict[str, str]:
    return {instance.name: instance.role.value for instance in get_shard(name).instances}


def await_whole(name: str) -> None:
    """Wait until the shard has one primary, and all other instances are its replicas."""
    wait_until(
        lambda: sorted(read_roles(name).values()) == ["primary", *["replica"] * (len(read_roles(name)) - 1)],
        what=f"{name} whole again",
    )


def make_whole(cluster: LocalCluster) -> None:
    """Start all members and wait until each shard has its primary and its replicas."""
    for name in ("configservice1", "configservice2"):
        cluster.application(name).start()
    for instances in cluster.layout.shards.values():
        for server in instances:
            if server.is_running:
                server.resume()
            server.start()
    for shard in cluster.layout.shards:
        await_whole(shard)


def find_epochs() -> set[int | None]:
    """Of every living process, by the service registry."""
    found = [registered.service for registered in find_services() or ()]
    return {service.epoch for service in found if service.state not in (ServiceState.LOST, ServiceState.STOPPING)}


def get_newest_epoch() -> int:
    get_cluster().refresh_topology()
    return get_cluster().topology.epoch

"""Processes in the registry, on a real cache."""

import os
from datetime import UTC, datetime

import pytest
import redis

from configservice.errors import RegistryUnavailable
from configservice.registry.heartbeat import ProcessCondition, start_heartbeat
from configservice.registry.services import (
    Service,
    ServiceKind,
    ServiceState,
    format_registry_keys,
    put_heartbeat,
    read_services,
    remove_service,
)
from configservice.topology.cluster_cache import ClusterCache
from tests.pace import limit
from tests.waiting import wait_until

CLUSTER_ID = "a-cluster"
DEAD_URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def registry(cluster_cache, settings):
    settings.TOPOLOGY_CACHE_URL, settings.CLUSTER_ID = cluster_cache.url, cluster_cache.cluster_id
    with redis.Redis.from_url(cluster_cache.url, socket_timeout=limit(5)) as client:
        client.delete(*format_registry_keys(cluster_cache))
        yield client
        client.delete(*format_registry_keys(cluster_cache))


def build_service(name: str) -> Service:
    return Service(name, ServiceKind.WORKER, "host", 7, "1", "local", datetime(2026, 1, 1, tzinfo=UTC))


def read(cluster_cache: ClusterCache, *, lost_seconds: float = 10.0) -> list[tuple[str, str]]:
    return [(r.service.id, r.service.state) for r in read_services(cluster_cache, lost_seconds=lost_seconds)]


def test_a_service_is_shown_until_it_leaves(registry, cluster_cache):
    for name in ("a", "b"):
        put_heartbeat(cluster_cache, build_service(name), forget_seconds=60.0)
    assert read(cluster_cache) == [("a", "serving"), ("b", "serving")]
    assert read_services(cluster_cache, lost_seconds=10.0)[0].service == build_service("a")
    remove_service(cluster_cache, "a")
    assert read(cluster_cache) == [("b", "serving")]


def test_a_silent_service_is_lost_and_then_forgotten(registry, cluster_cache):
    put_heartbeat(cluster_cache, build_service("silent"), forget_seconds=60.0)
    wait_until(lambda: read(cluster_cache, lost_seconds=0.05) == [("silent", "lost")])
    put_heartbeat(cluster_cache, build_service("living"), forget_seconds=0.05)
    assert read(cluster_cache) == [("living", "serving")]
    wait_until(lambda: not registry.exists(*format_registry_keys(cluster_cache)))


def test_a_process_beats_says_how_it_is_and_leaves_when_it_stops(registry, cluster_cache, settings):
    settings.SERVICE_HEARTBEAT_SECONDS = 0.02
    said = ProcessCondition(epoch=4)
    heartbeat = start_heartbeat(kind=ServiceKind.GATEWAY, describe=lambda: said)
    wait_until(lambda: read(cluster_cache) != [])
    (registered,) = read_services(cluster_cache, lost_seconds=10.0)
    assert (registered.service.kind, registered.service.pid, registered.service.epoch) == ("gateway", os.getpid(), 4)
    said = ProcessCondition(ServiceState.IMPAIRED, detail="no topology")
    wait_until(lambda: [r.service.detail for r in read_services(cluster_cache, lost_seconds=10.0)] == ["no topology"])
    registry.delete(*format_registry_keys(cluster_cache))  # a cache that was restarted
    wait_until(lambda: [state for _, state in read(cluster_cache)] == ["impaired"])
    heartbeat.stop()
    assert read(cluster_cache) == []
    heartbeat.stop()


def test_a_process_that_cannot_say_how_it_is_beats_again_when_it_can(registry, cluster_cache, settings):
    settings.SERVICE_HEARTBEAT_SECONDS = 0.02
    answers = iter([KeyError("not yet")])

    def describe():
        for error in answers:
            raise error
        return ProcessCondition()

    heartbeat = start_heartbeat(kind=ServiceKind.WORKER, describe=describe)
    wait_until(lambda: [state for _, state in read(cluster_cache)] == ["serving"])
    heartbeat.stop()


def test_without_the_cache_a_process_goes_on_and_readers_are_told(settings):
    settings.TOPOLOGY_CACHE_URL, settings.CLUSTER_ID = DEAD_URL, CLUSTER_ID
    heartbeat = start_heartbeat(kind=ServiceKind.WORKER)
    heartbeat.stop()
    with pytest.raises(RegistryUnavailable):
        read_services(ClusterCache(DEAD_URL, CLUSTER_ID), lost_seconds=10.0)

"""Processes in the registry, on a real cache."""

import os
from datetime import UTC, datetime

import pytest
import redis

from configservice.errors import RegistryUnavailable
from configservice.heartbeat import Condition, start_heartbeat
from configservice.services import (
    BEATS_KEY,
    SERVICES_KEY,
    Service,
    ServiceKind,
    ServiceState,
    put_heartbeat,
    read_services,
    remove_service,
)
from tests.waiting import wait_until

DEAD_URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def registry(cache_url):
    with redis.Redis.from_url(cache_url, socket_timeout=5.0) as client:
        client.delete(BEATS_KEY, SERVICES_KEY)
        yield client
        client.delete(BEATS_KEY, SERVICES_KEY)


def build_service(name: str) -> Service:
    return Service(name, ServiceKind.WORKER, "host", 7, "1", "local", datetime(2026, 1, 1, tzinfo=UTC))


def read(cache_url: str, *, lost_seconds: float = 10.0) -> list[tuple[str, str]]:
    return [(r.service.id, r.service.state) for r in read_services(cache_url, lost_seconds=lost_seconds)]


def test_a_service_is_shown_until_it_leaves(registry, cache_url):
    for name in ("a", "b"):
        put_heartbeat(cache_url, build_service(name), forget_seconds=60.0)
    assert read(cache_url) == [("a", "serving"), ("b", "serving")]
    assert read_services(cache_url, lost_seconds=10.0)[0].service == build_service("a")
    remove_service(cache_url, "a")
    assert read(cache_url) == [("b", "serving")]


def test_a_silent_one_is_lost_then_forgotten_when_others_beat_and_with_the_last_of_all(registry, cache_url):
    put_heartbeat(cache_url, build_service("silent"), forget_seconds=60.0)
    wait_until(lambda: read(cache_url, lost_seconds=0.05) == [("silent", "lost")])
    put_heartbeat(cache_url, build_service("living"), forget_seconds=0.05)
    assert read(cache_url) == [("living", "serving")]
    wait_until(lambda: not registry.exists(BEATS_KEY, SERVICES_KEY))


def test_a_process_beats_says_how_it_is_and_leaves_when_it_stops(registry, cache_url, settings):
    settings.TOPOLOGY_CACHE_URL = cache_url
    settings.SERVICE_HEARTBEAT_SECONDS = 0.02
    said = Condition(epoch=4)
    heartbeat = start_heartbeat(kind=ServiceKind.GATEWAY, describe=lambda: said)
    wait_until(lambda: read(cache_url) != [])
    (registered,) = read_services(cache_url, lost_seconds=10.0)
    assert (registered.service.kind, registered.service.pid, registered.service.epoch) == ("gateway", os.getpid(), 4)
    said = Condition(ServiceState.IMPAIRED, detail="no topology")
    wait_until(lambda: [r.service.detail for r in read_services(cache_url, lost_seconds=10.0)] == ["no topology"])
    registry.delete(BEATS_KEY, SERVICES_KEY)  # a cache that was restarted
    wait_until(lambda: [state for _, state in read(cache_url)] == ["impaired"])
    heartbeat.stop()
    assert read(cache_url) == []
    heartbeat.stop()


def test_a_process_that_cannot_say_how_it_is_beats_again_when_it_can(registry, cache_url, settings):
    settings.TOPOLOGY_CACHE_URL = cache_url
    settings.SERVICE_HEARTBEAT_SECONDS = 0.02
    answers = iter([KeyError("not yet")])

    def describe():
        for error in answers:
            raise error
        return Condition()

    heartbeat = start_heartbeat(kind=ServiceKind.WORKER, describe=describe)
    wait_until(lambda: [state for _, state in read(cache_url)] == ["serving"])
    heartbeat.stop()


def test_without_the_cache_a_process_goes_on_and_readers_are_told(settings):
    settings.TOPOLOGY_CACHE_URL = DEAD_URL
    heartbeat = start_heartbeat(kind=ServiceKind.WORKER)
    heartbeat.stop()
    with pytest.raises(RegistryUnavailable):
        read_services(DEAD_URL, lost_seconds=10.0)

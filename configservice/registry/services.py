"""Entries of the service registry, in the cache and not in the control database: see decision 0015.

All ages are by the cache server's clock, so that clocks of two machines are never compared. A silent service is shown
as lost after a while, and forgotten later.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from configservice.errors import RegistryUnavailable
from configservice.registry.known_keys import KeyHolder
from configservice.topology.cluster_cache import ClusterCache
from runtime.valkey import ValkeyError

FORGOTTEN_AT_ONCE = 100

_BEAT = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3], 'LIMIT', 0, {FORGOTTEN_AT_ONCE})
for _, id in ipairs(old) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
"""


class ServiceKind(StrEnum):
    GATEWAY = "gateway"
    """A web process that accepts events and answers reads."""
    ADMIN = "admin"
    """A web process that serves only the admin."""
    WORKER = "worker"
    """A Celery worker, which does the periodic work."""
    PULLER = "puller"
    """A pull process, which applies the log to the shards."""
    SCHEDULER = "scheduler"
    """Celery beat."""
    CONFIG_SERVICE = "config_service"
    SHARD_PROXY = "shard_proxy"
    MOVER = "mover"
    """Moves partitions between shards."""


class ServiceState(StrEnum):
    SERVING = "serving"
    STANDBY = "standby"
    """The service would take over if the leader died."""
    IMPAIRED = "impaired"
    """The service runs but cannot do its work: `detail` says why."""
    STOPPING = "stopping"
    LOST = "lost"
    """No heartbeat for a while. Set by the reader of the registry, never by the service."""


class Service(msgspec.Struct, frozen=True):
    """A process as it describes itself. `epoch`: epoch of the topology it uses, None if it uses none. `public_keys`:
    ids of those that it verifies topologies with; None: its release does not tell."""

    id: str
    kind: ServiceKind
    host: str
    pid: int
    version: str
    zone: str
    started_at: datetime
    state: ServiceState = ServiceState.SERVING
    detail: str = ""
    epoch: int | None = None
    public_keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RegisteredService:
    service: Service
    last_heartbeat_at: datetime
    age_seconds: float


def list_key_holders(services: Iterable[RegisteredService]) -> list[KeyHolder]:
    """Processes that live, and thus may have to accept the next topology."""
    gone = (ServiceState.LOST, ServiceState.STOPPING)
    found = [registered.service for registered in services if registered.service.state not in gone]
    return [KeyHolder(f"{service.kind} {service.host}:{service.pid}", service.public_keys) for service in found]


def format_registry_keys(cluster_cache: ClusterCache) -> tuple[str, ...]:
    """The keys of the instants of the last heartbeats, and of the descriptions."""
    return cluster_cache.format_tagged_keys("services", "beats", "descriptions")


def put_heartbeat(cluster_cache: ClusterCache, service: Service, *, forget_seconds: float) -> None:
    """Registers or refreshes `service`, and forgets services silent for long. Raises RegistryUnavailable."""
    try:
        cluster_cache.client.eval(
            _BEAT,
            2,
            *format_registry_keys(cluster_cache),
            service.id,
            msgspec.json.encode(service),
            int(forget_seconds * 1000),
        )
    except ValkeyError as error:
        raise RegistryUnavailable(str(error)) from error


def remove_service(cluster_cache: ClusterCache, service_id: str) -> None:
    """For an orderly stop. Raises RegistryUnavailable."""
    beats_key, descriptions_key = format_registry_keys(cluster_cache)
    try:
        with cluster_cache.client.pipeline(transaction=True) as pipeline:
            pipeline.zrem(beats_key, service_id)
            pipeline.hdel(descriptions_key, service_id)
            pipeline.execute()
    except ValkeyError as error:
        raise RegistryUnavailable(str(error)) from error


def read_services(cluster_cache: ClusterCache, *, lost_seconds: float) -> list[RegisteredService]:
    """All known services, ordered by kind, host and pid. Raises RegistryUnavailable."""
    beats_key, descriptions_key = format_registry_keys(cluster_cache)
    try:
        with cluster_cache.client.pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.zrange(beats_key, 0, -1, withscores=True)
            pipeline.hgetall(descriptions_key)
            (seconds, microseconds), beats, descriptions = pipeline.execute()
    except ValkeyError as error:
        raise RegistryUnavailable(str(error)) from error
    now_ms = seconds * 1000 + microseconds // 1000
    return build_services(beats, descriptions, now_ms=now_ms, lost_seconds=lost_seconds)


def build_services(
    beats: Iterable[tuple[bytes, float]], descriptions: dict[Any, bytes], *, now_ms: int, lost_seconds: float
) -> list[RegisteredService]:
    """Pure. Skips descriptions that this release cannot decode: a newer release wrote them."""
    services = []
    for service_id, beat_ms in beats:
        try:
            service = msgspec.json.decode(descriptions.get(service_id, b""), type=Service)
        except msgspec.DecodeError:
            continue
        age_seconds = max(0.0, (now_ms - beat_ms) / 1000)
        if age_seconds > lost_seconds:
            service = msgspec.structs.replace(service, state=ServiceState.LOST)
        services.append(RegisteredService(service, datetime.fromtimestamp(beat_ms / 1000, UTC), age_seconds))
    return sorted(services, key=lambda r: (r.service.kind, r.service.host, r.service.pid))

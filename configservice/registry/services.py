"""The service registry: which processes there are, by their heartbeats.

In the cache, not in the control database: see decision 0015. All ages are by the cache server's own clock, so that no
two machines' clocks are compared. Who is silent for long is lost, after longer still forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from configservice.errors import RegistryUnavailable
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
    """A web process: takes events, answers reads."""
    ADMIN = "admin"
    """A web process that serves the admin and nothing else."""
    WORKER = "worker"
    """A Celery worker: applies the log."""
    SCHEDULER = "scheduler"
    """Celery's beat."""
    CONFIG_SERVICE = "config_service"
    SHARD_PROXY = "shard_proxy"
    MOVER = "mover"
    """Carries partitions from shard to shard."""


class ServiceState(StrEnum):
    SERVING = "serving"
    STANDBY = "standby"
    """It would take over if another one died."""
    IMPAIRED = "impaired"
    """It runs, and cannot do its work: `detail` says why."""
    STOPPING = "stopping"
    LOST = "lost"
    """No heartbeat for a while. Never said by the service itself."""


class Service(msgspec.Struct, frozen=True):
    """What a process says of itself. `epoch` is that of the topology it acts on, None where it has none."""

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


@dataclass(frozen=True, slots=True)
class RegisteredService:
    service: Service
    last_heartbeat_at: datetime
    age_seconds: float


def format_registry_keys(cluster_cache: ClusterCache) -> tuple[str, ...]:
    """Of the instants of the last heartbeats, and of the descriptions."""
    return cluster_cache.format_tagged_keys("services", "beats", "descriptions")


def put_heartbeat(cluster_cache: ClusterCache, service: Service, *, forget_seconds: float) -> None:
    """Registers `service`, or says that it lives still; forgets those long silent. Raises RegistryUnavailable."""
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
    """For one that stops in order. Raises RegistryUnavailable."""
    beats_key, descriptions_key = format_registry_keys(cluster_cache)
    try:
        with cluster_cache.client.pipeline(transaction=True) as pipeline:
            pipeline.zrem(beats_key, service_id)
            pipeline.hdel(descriptions_key, service_id)
            pipeline.execute()
    except ValkeyError as error:
        raise RegistryUnavailable(str(error)) from error


def read_services(cluster_cache: ClusterCache, *, lost_seconds: float) -> list[RegisteredService]:
    """Every one that is remembered, by kind, host and pid. Raises RegistryUnavailable."""
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
    """Pure. A description that this release cannot read is left out: a newer one wrote it."""
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

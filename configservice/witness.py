"""What shard proxies see of instances, for whoever must not trust its own eyes alone before it calls a primary dead.

In the cache, so that it can be read while the control database is down. Ages are measured by an observer's own clock up
to the moment it speaks, and by the cache server's from then on: clocks of two machines are never compared. An observer
that falls silent is forgotten within a minute.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from configservice.cluster_cache import ClusterCache
from configservice.errors import WitnessUnavailable

FORGET_SECONDS = 60
FORGOTTEN_AT_ONCE = 100

_SPEAK = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - {FORGET_SECONDS * 1000}, 'LIMIT', 0, {FORGOTTEN_AT_ONCE})
for _, observer in ipairs(old) do
    redis.call('ZREM', KEYS[1], observer)
    redis.call('HDEL', KEYS[2], observer)
end
redis.call('EXPIRE', KEYS[1], {FORGET_SECONDS})
redis.call('EXPIRE', KEYS[2], {FORGET_SECONDS})
"""


class Report(msgspec.Struct, frozen=True):
    """Whether `instance` answered at `host`:`port`, if only with an error, `age_seconds` ago; `detail`: the trouble."""

    instance: str
    host: str
    port: int
    is_reachable: bool
    age_seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HeardReport:
    """`observer` is `host:pid`. The age in `report` has grown by how long ago the observer spoke."""

    observer: str
    report: Report


_decoder = msgspec.json.Decoder(list[Report])


def name_witness_keys(cluster_cache: ClusterCache) -> tuple[str, ...]:
    """Of the instants at which observers spoke, and of what they said."""
    return cluster_cache.name_tagged_keys("witness", "spoke", "reports")


def publish_reports(cluster_cache: ClusterCache, observer: str, reports: Iterable[Report]) -> None:
    """All that `observer` has to say; what it said before is forgotten. Raises WitnessUnavailable."""
    try:
        cluster_cache.client.eval(
            _SPEAK, 2, *name_witness_keys(cluster_cache), observer, msgspec.json.encode(list(reports))
        )
    except redis.RedisError as error:
        raise WitnessUnavailable(str(error)) from error


def read_witness(cluster_cache: ClusterCache, *, instance: str | None = None) -> list[HeardReport]:
    """What every observer says, of one instance or of all. Raises WitnessUnavailable.

    A report of an address that the instance has left says nothing of where it is now: compare `host` and `port`.
    """
    spoke_key, reports_key = name_witness_keys(cluster_cache)
    try:
        with cluster_cache.client.pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.zrange(spoke_key, 0, -1, withscores=True)
            pipeline.hgetall(reports_key)
            (seconds, microseconds), spoke, said = pipeline.execute()
    except redis.RedisError as error:
        raise WitnessUnavailable(str(error)) from error
    heard = build_heard(spoke, said, now_ms=seconds * 1000 + microseconds // 1000)
    return [one for one in heard if instance in (None, one.report.instance)]


def build_heard(spoke: Iterable[tuple[bytes, float]], said: dict[Any, bytes], *, now_ms: int) -> list[HeardReport]:
    """Pure. What this release cannot read is left out: a newer one wrote it."""
    heard = []
    for observer, spoke_ms in spoke:
        try:
            reports = _decoder.decode(said.get(observer, b""))
        except msgspec.DecodeError:
            continue
        since_seconds = max(0.0, (now_ms - spoke_ms) / 1000)
        heard += [
            HeardReport(observer.decode(), msgspec.structs.replace(r, age_seconds=r.age_seconds + since_seconds))
            for r in reports
        ]
    return heard

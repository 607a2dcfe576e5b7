"""Reports of witnesses (shard proxies) on the reachability of instances, for failure detection.

They are in the cache, so that they can be read while the control database is down, and authenticated by a MAC, since a
failover depends on them. The age of a report is measured by the witness's clock until it is written, and by the cache
server's clock from then on: clocks of two machines are never compared. A silent witness is forgotten within a minute.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from configservice.errors import WitnessUnavailable
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.value_macs import CLOCK_TOLERANCE_SECONDS, ValueAuthenticator
from runtime.valkey import ValkeyError

FORGET_SECONDS = 60
FORGOTTEN_AT_ONCE = 100

_PUT_REPORTS = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - {FORGET_SECONDS * 1000}, 'LIMIT', 0, {FORGOTTEN_AT_ONCE})
for _, witness in ipairs(old) do
    redis.call('ZREM', KEYS[1], witness)
    redis.call('HDEL', KEYS[2], witness)
end
redis.call('EXPIRE', KEYS[1], {FORGET_SECONDS})
redis.call('EXPIRE', KEYS[2], {FORGET_SECONDS})
"""


class WitnessReport(msgspec.Struct, frozen=True):
    """Whether `instance` answered at `host`:`port` (also by an error) `age_seconds` ago; `detail`: the error."""

    instance: str
    host: str
    port: int
    is_reachable: bool
    age_seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """`witness` is `host:pid`. The age in `report` includes the time since it was written."""

    witness: str
    report: WitnessReport


_decoder = msgspec.json.Decoder(list[WitnessReport])


def format_witness_keys(cluster_cache: ClusterCache) -> tuple[str, ...]:
    """The keys of the instants at which witnesses wrote, and of their reports."""
    return cluster_cache.format_tagged_keys("witness:2", "spoke", "reports")


def publish_reports(
    cluster_cache: ClusterCache, witness: str, reports: Iterable[WitnessReport], *, authenticator: ValueAuthenticator
) -> None:
    """Replaces all reports of `witness`. Raises WitnessUnavailable."""
    written_key, reports_key = format_witness_keys(cluster_cache)
    value = authenticator.protect(
        msgspec.json.encode(list(reports)),
        name=format_report_name(reports_key, witness),
        good_until=time.time() + FORGET_SECONDS,
    )
    try:
        cluster_cache.client.eval(_PUT_REPORTS, 2, written_key, reports_key, witness, value)
    except ValkeyError as error:
        raise WitnessUnavailable(str(error)) from error


def format_report_name(reports_key: str, witness: str) -> str:
    return f"{reports_key}:{witness}"


class WitnessReader:
    """Used by one thread. Ignores values that were not written by a witness of this cluster.

    Invariant: a report ages from the moment at which this process first read it, by this process's clock. So a report
    that is replayed into the cache does not become younger, whatever the cache server's clock says; and a report older
    than the last one received is ignored.
    """

    def __init__(self, authenticator: ValueAuthenticator) -> None:
        self._authenticator = authenticator
        self._first_read: dict[str, tuple[int, float]] = {}  # by witness: stamp of its last report, instant

    def read(self, cluster_cache: ClusterCache, *, instance: str | None = None) -> list[ReceivedReport]:
        """Reports of all witnesses, on one instance or on all. Raises WitnessUnavailable.

        A report may be about a former address of the instance: compare `host` and `port`.
        """
        written_key, reports_key = format_witness_keys(cluster_cache)
        try:
            with cluster_cache.client.pipeline(transaction=True) as pipeline:
                pipeline.time()
                pipeline.zrange(written_key, 0, -1, withscores=True)
                pipeline.hgetall(reports_key)
                (seconds, microseconds), written, values = pipeline.execute()
        except ValkeyError as error:
            raise WitnessUnavailable(str(error)) from error
        received = self.decode(
            written,
            {name.decode(errors="replace"): value for name, value in values.items()},
            reports_key=reports_key,
            cache_now_ms=seconds * 1000 + microseconds // 1000,
            now=time.time(),
            monotonic_now=time.monotonic(),
        )
        return [one for one in received if instance in (None, one.report.instance)]

    def decode(
        self,
        written: Iterable[tuple[bytes, float]],
        values: Mapping[str, bytes],
        *,
        reports_key: str,
        cache_now_ms: int,
        now: float,
        monotonic_now: float,
    ) -> list[ReceivedReport]:
        """Skips reports that this release cannot decode: a newer release wrote them."""
        received = []
        for name, written_ms in written:
            witness = name.decode(errors="replace")
            data = values.get(witness, b"")
            authentic = self._authenticator.read_stamped(data, name=format_report_name(reports_key, witness), now=now)
            if authentic is None:
                continue
            value, stamp = authentic
            if stamp / 1000 > now + FORGET_SECONDS + CLOCK_TOLERANCE_SECONDS:
                continue  # the witness's clock is so far ahead that the report could be replayed for long
            read_seconds = self._get_age(witness, stamp, monotonic_now)
            if read_seconds is None:
                continue
            try:
                reports = _decoder.decode(value)
            except msgspec.DecodeError:
                continue
            age_seconds = max(0.0, (cache_now_ms - written_ms) / 1000, read_seconds)
            received += [
                ReceivedReport(witness, msgspec.structs.replace(r, age_seconds=r.age_seconds + age_seconds))
                for r in reports
            ]
        self._forget(monotonic_now)
        return received

    def _get_age(self, witness: str, stamp: int, now: float) -> float | None:
        """Seconds since this report of the witness was first read; None if it is older than its last one."""
        known, first_read_at = self._first_read.get(witness, (0, now))
        if stamp < known:
            return None
        if stamp > known:
            first_read_at = now
            self._first_read[witness] = (stamp, now)
        return now - first_read_at

    def _forget(self, now: float) -> None:
        """Forgets only reports whose MAC has expired, so that an older report of the witness cannot come back."""
        kept_seconds = FORGET_SECONDS + 2 * CLOCK_TOLERANCE_SECONDS
        self._first_read = {
            witness: (stamp, at) for witness, (stamp, at) in self._first_read.items() if now - at <= kept_seconds
        }

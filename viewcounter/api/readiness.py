"""Whether this process can do its work, part by part. Names parts, never hosts: whoever asks needs no key.

Only what an acknowledged event needs makes the service unready: the topology (to know its partition) and the
log. A shard that is down delays counting and blinds some reads, but taking gateways out of the load balancer
for it would turn a small fault into a whole one.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from clusterproxy.errors import ClusterProxyError, NoTopology
from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import ReadResult
from configservice.topology import Instance, Role, Shard
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import EventLog
from viewcounter.storage.errors import SchemaVersionMismatch
from viewcounter.storage.partitions import READ_SCHEMA_VERSION, check_schema_version

MAX_PROBES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Readiness:
    """`parts`: name -> whether it is up."""

    is_ready: bool
    parts: Mapping[str, bool]


class ReadinessProbe:
    """Asks at most once in `keep_seconds`, however many ask us: the address is open to everybody.

    Invariant: at most one caller probes at a time; the others wait for its answer.
    """

    def __init__(self, *, keep_seconds: float, part_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._part_seconds = part_seconds
        self._lock = Lock()  # held while probing, so that a crowd causes one probe
        self._last: Readiness | None = None
        self._probed_at = 0.0

    def check(self, cluster: ClusterProxy, log: EventLog) -> Readiness:
        with self._lock:
            if self._last is None or time.monotonic() - self._probed_at > self._keep_seconds:
                self._last = probe(cluster, log, part_seconds=self._part_seconds)
                self._probed_at = time.monotonic()
            return self._last


def probe(cluster: ClusterProxy, log: EventLog, *, part_seconds: float) -> Readiness:
    """Every part, shards side by side, each within `part_seconds`."""
    accepting = {"topology": _answers(lambda: cluster.topology), "log": _answers(log.check)}
    shards: dict[str, bool] = {}
    if accepting["topology"]:
        with ThreadPoolExecutor(max_workers=MAX_PROBES_AT_ONCE, thread_name_prefix="readiness") as pool:
            probes = pool.map(lambda shard: _probe_shard(cluster, shard, seconds=part_seconds), cluster.topology.shards)
            for parts in probes:
                shards |= parts
    return Readiness(is_ready=all(accepting.values()), parts={**accepting, **shards})


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (NoTopology, EventLogError):
        return False
    return True


def _probe_shard(cluster: ClusterProxy, shard: Shard, *, seconds: float) -> dict[str, bool]:
    """Each instance by its name, and `<shard> schema`: whether no instance that answers has another version."""
    try:
        answers = cluster.read_every_instance(shard.id, READ_SCHEMA_VERSION, {}, deadline_seconds=seconds)
    except (ShardProxyError, ClusterProxyError):
        answers = {}
    results = {name: answer for name, answer in answers.items() if isinstance(answer, ReadResult)}
    parts = {name: instance.name in results for name, instance in name_instances(shard)}
    return parts | {f"{shard.name} schema": all(_has_our_schema(r, shard) for r in results.values())}


def _has_our_schema(result: ReadResult, shard: Shard) -> bool:
    try:
        check_schema_version(result.rows, shard=shard.name)
    except SchemaVersionMismatch:
        return False
    return True


def name_instances(shard: Shard) -> list[tuple[str, Instance]]:
    """`<shard> primary`, `<shard> replica`, `<shard> replica 2`, … for the instances that can be asked."""
    named = []
    seen = {Role.PRIMARY: 0, Role.REPLICA: 0}
    for instance in shard.copies:
        if instance.promotable or instance.role is Role.PRIMARY:
            seen[instance.role] += 1
            number = f" {seen[instance.role]}" if seen[instance.role] > 1 else ""
            named.append((f"{shard.name} {instance.role}{number}", instance))
    return named

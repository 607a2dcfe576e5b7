"""Whether this process can do its work, and which part of it is degraded. Names parts, never hosts: whoever asks needs
no key.

Only what an acknowledged event needs makes the process unready: the topology (to know its partition), API keys that can
be checked, and the log or a spool with room. A shard that is down delays counting and blinds some reads, but taking
gateways out of the load balancer for it would turn a small fault into a whole one.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from django.utils import timezone

from clusterproxy.errors import NoTopology
from clusterproxy.proxy import ClusterProxy
from configservice.failover.durability import DurabilityState
from configservice.models import LogLoss
from configservice.monitoring.shard_reports import ShardReport, is_looked_after
from configservice.topology.model import Instance, Role, Shard, Topology
from runtime.timed_call import TimedCall
from viewcounter.eventlog.errors import EventLogError, LogUnfit
from viewcounter.eventlog.interface import EventLog
from viewcounter.health.cluster_health import ShardHealth, Status, probe_cluster
from viewcounter.health.log_losses import find_losses
from viewcounter.health.shard_condition import NOT_LOOKED_AFTER, describe_condition, describe_log, find_reports
from viewcounter.ingest.spool import SpoolState, measure_slots
from viewcounter.maintenance.retention import DELETION_PATIENCE

TOPOLOGY, LOG, SPOOL, CONTROL_DATABASE, CACHE = "topology", "log", "spool", "control database", "cache"
CONFIG_SERVICE, API_KEYS = "config service", "API keys"
SIGNATURE = "topology signature"
LOSS_SHOWN = timedelta(days=1)

_HELD_BACK = "counts ages {hours:.1f} hours behind the shard's clock: a clock was set ahead, or nothing ran for so long"


@dataclass(frozen=True, slots=True)
class Part:
    status: Status
    reason: str = ""


UP = Part(Status.UP)


@dataclass(frozen=True, slots=True)
class Readiness:
    """`is_ready`: events can be accepted durably."""

    is_ready: bool
    parts: Mapping[str, Part]

    @property
    def status(self) -> str:
        if not self.is_ready:
            return "unready"
        return "ready" if all(part.status is Status.UP for part in self.parts.values()) else "degraded"


@dataclass(frozen=True, slots=True)
class ReadinessSettings:
    """An answer is kept `keep_seconds`; one part has `part_seconds`. `spool_max_bytes` is of each slot."""

    keep_seconds: float
    part_seconds: float
    max_lag_seconds: float
    spool_dir: Path | None = None
    spool_max_bytes: int = 0


class ReadinessProbe:
    """Asks at most once in `keep_seconds`, however many ask us: the address is open to everybody.

    `dependencies` are the parts that no acknowledged event needs, by name, each with how to ask it and what its loss
    means. `knows_key`: whether any API key can be checked while the control database does not answer.
    Invariant: at most one caller probes at a time; the others wait for its answer.
    """

    def __init__(
        self,
        settings: ReadinessSettings,
        *,
        dependencies: Mapping[str, tuple[Callable[[], object], str]],
        knows_key: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._knows_key = knows_key
        self._dependencies = {
            name: _Dependency(TimedCall(f"readiness-{name}", ask), meaning)
            for name, (ask, meaning) in dependencies.items()
        }
        self._lock = Lock()  # held while probing, so that a crowd causes one probe
        self._last: Readiness | None = None
        self._probed_at = 0.0

    def check(self, cluster: ClusterProxy, log: EventLog) -> Readiness:
        with self._lock:
            if self._last is None or time.monotonic() - self._probed_at > self._settings.keep_seconds:
                self._last = self._probe(cluster, log)
                self._probed_at = time.monotonic()
            return self._last

    def _probe(self, cluster: ClusterProxy, log: EventLog) -> Readiness:
        settings = self._settings
        for dependency in self._dependencies.values():
            dependency.question.start()
        parts: dict[str, Part] = {TOPOLOGY: _check_topology(cluster), LOG: _check_log(log)}
        if settings.spool_dir is not None:
            spool = measure_slots(settings.spool_dir)
            parts[SPOOL] = check_spool(spool, max_bytes=settings.spool_max_bytes)
            parts |= name_spool_troubles(spool)
        takes_events = parts[LOG], parts.get(SPOOL, parts[LOG])
        if parts[TOPOLOGY].status is not Status.DOWN:
            _, standings = probe_cluster(
                cluster, timeout_seconds=settings.part_seconds, max_lag_seconds=settings.max_lag_seconds
            )
            parts |= {name: part for standing in standings for name, part in name_parts(standing)}
            reports = find_reports(timeout_seconds=settings.part_seconds)
            parts |= name_conditions(reports) | name_kept_logs(cluster.topology, reports or {})
            parts |= name_losses(
                cluster.topology, find_losses(timeout_seconds=settings.part_seconds), now=timezone.now()
            )
        parts |= {name: d.finish(timeout_seconds=settings.part_seconds) for name, d in self._dependencies.items()}
        parts[API_KEYS] = check_keys(parts.get(CONTROL_DATABASE, UP), knows_key=self._knows_key())
        is_ready = (
            parts[TOPOLOGY].status is not Status.DOWN
            and parts[API_KEYS].status is Status.UP
            and any(part.status is Status.UP for part in takes_events)
        )
        return Readiness(is_ready=is_ready, parts=parts)


@dataclass(frozen=True, slots=True)
class _Dependency:
    question: TimedCall[object]
    meaning: str

    def finish(self, *, timeout_seconds: float) -> Part:
        try:
            self.question.finish(timeout_seconds=timeout_seconds)
        except Exception:  # foreign clients; whatever they raise, the part does not do its work
            return Part(Status.DOWN, self.meaning)
        return UP


def _check_topology(cluster: ClusterProxy) -> Part:
    """Names places and reasons, never what a refused topology says."""
    refused = cluster.refused_topologies
    try:
        _ = cluster.topology
    except NoTopology:
        if refused:
            return Part(Status.DOWN, f"none can be believed, no event can be routed: {_describe_refused(refused)}")
        return Part(Status.DOWN, "no source and no disk copy has one: no event can be routed")
    if refused:
        return Part(Status.DEGRADED, f"the known one stays in use: {_describe_refused(refused)}")
    return UP


def _describe_refused(refused: Mapping[str, str]) -> str:
    return "; ".join(
        f"{place} holds one that is refused ({reason.replace('_', ' ')})" for place, reason in refused.items()
    )


def check_keys(control_database: Part, *, knows_key: bool) -> Part:
    """A process that started without the control database knows no key and would refuse every request."""
    if control_database.status is Status.UP or knows_key:
        return UP
    return Part(Status.DOWN, "no key can be checked: the control database does not answer and no key is known here")


def _check_log(log: EventLog) -> Part:
    try:
        log.check()
    except LogUnfit as error:
        return Part(Status.DOWN, f"takes nothing: {error}; {error.remedy}")
    except EventLogError:
        return Part(Status.DOWN, "does not take entries: events go to the spool, or are refused without one")
    return UP


def name_losses(topology: Topology, losses: Sequence[LogLoss] | None, *, now: datetime) -> dict[str, Part]:
    """`log id` while the log has none, `log losses` for a day after the log has lost entries."""
    parts = {}
    if not topology.log_id:
        parts["log id"] = Part(Status.DEGRADED, "an emptied log would not be noticed: run migrate_shards")
    if losses and now - losses[0].found_at < LOSS_SHOWN:
        count = sum(now - loss.found_at < LOSS_SHOWN for loss in losses)
        told = f"the log has lost entries of {count} partitions, last at {losses[0].found_at:%Y-%m-%dT%H:%M:%SZ}"
        parts["log losses"] = Part(Status.DEGRADED, f"{told}: see GET /v1/cluster")
    return parts


def check_spool(state: SpoolState, *, max_bytes: int) -> Part:
    """Of all gateway processes of this host."""
    slots = state.slot_bytes
    if slots and min(slots) >= max_bytes:
        return Part(Status.DOWN, "is full: events are refused while the log is away")
    if sum(slots) > 0:
        return Part(Status.DEGRADED if max(slots) >= max_bytes else Status.UP, "holds events that wait for the log")
    return UP


def name_spool_troubles(state: SpoolState) -> dict[str, Part]:
    """`spooled events`, where some cannot be delivered: the spool takes others all the same."""
    refused = ", ".join(map(str, state.refused_partitions))
    troubles = [
        f"the log refuses those of partitions {refused}" if refused else "",
        f"{state.damaged_count} damaged files are kept aside" if state.damaged_count else "",
    ]
    return {"spooled events": Part(Status.DEGRADED, "; ".join(filter(None, troubles)))} if any(troubles) else {}


def name_parts(standing: ShardHealth) -> Iterator[tuple[str, Part]]:
    """Each instance, `<shard> schema`, `<shard> deletion` where what is too old is kept for now, and `<shard>
    durability` where commits wait for replicas."""
    shard = standing.shard
    if shard.primary is None:
        yield f"{shard.name} primary", Part(Status.DOWN, "there is none: its events wait in the log")
    by_name = {i.instance.name: i for i in standing.instances}
    for name, instance in name_instances(shard):
        yield name, Part(by_name[instance.name].status, by_name[instance.name].reason)
    schema = UP if standing.has_our_schema else Part(Status.DOWN, "is not this release's: run migrate_shards")
    yield f"{shard.name} schema", schema
    behind_seconds = standing.deletion_behind_seconds
    if behind_seconds is not None and behind_seconds > DELETION_PATIENCE.total_seconds():
        yield f"{shard.name} deletion", Part(Status.DEGRADED, _HELD_BACK.format(hours=behind_seconds / 3600))
    if standing.durability is not DurabilityState.MET:
        blocked = standing.durability is DurabilityState.BLOCKED
        yield f"{shard.name} durability", Part(Status.DOWN if blocked else Status.DEGRADED, standing.durability_reason)


def name_conditions(reports: Mapping[str, ShardReport] | None) -> dict[str, Part]:
    """`config service`, and `<shard> condition` where one looks after the shards; nothing where nobody can be asked."""
    if reports is None:
        return {}
    if not is_looked_after(reports.values()):
        return {CONFIG_SERVICE: Part(Status.DEGRADED, NOT_LOOKED_AFTER)}
    conditions = {f"{name} condition": Part(*describe_condition(report)) for name, report in reports.items()}
    return {CONFIG_SERVICE: UP} | conditions


def name_kept_logs(topology: Topology, reports: Mapping[str, ShardReport]) -> dict[str, Part]:
    """`<shard> log` while it is kept for a replica that is away."""
    labels = {i.name: label for shard in topology.shards for label, i in name_instances(shard)}
    texts = {name: describe_log(report, labels) for name, report in reports.items()}
    return {f"{name} log": Part(Status.DEGRADED, text) for name, text in texts.items() if text}


def name_instances(shard: Shard) -> list[tuple[str, Instance]]:
    """`<shard> primary`, `<shard> replica`, `<shard> replica 2`, `<shard> fenced`, …"""
    named = []
    seen = dict.fromkeys(Role, 0)
    for instance in shard.instances:
        seen[instance.role] += 1
        number = f" {seen[instance.role]}" if seen[instance.role] > 1 else ""
        named.append((f"{shard.name} {instance.role}{number}", instance))
    return named

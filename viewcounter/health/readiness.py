"""Readiness of this process, by part. Reports part names and never hosts, since `/readyz` needs no API key.

A process is unready only if it cannot acknowledge events: without a topology (which gives the partition), without API
keys that can be checked, or without both the event log and room in a spool. A shard that is down delays counting and
fails some reads, but taking all gateways out of the load balancer for it would turn a partial fault into an outage.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from django.utils import timezone

from clusterproxy.errors import NoTopology
from clusterproxy.proxy import ClusterProxy
from configservice.failover.durability import DurabilityState
from configservice.failover.shard_reports import ShardReport, has_config_service
from configservice.models import LogLoss
from configservice.topology.model import Instance, Role, Shard, Topology
from runtime.timed_call import TimedCall
from viewcounter.eventlog.errors import EventLogError, LogUnfit
from viewcounter.eventlog.interface import EventLog
from viewcounter.eventlog.usage_trend import LogMemory, UsageTrend
from viewcounter.health.cluster_health import ShardHealth, Status, probe_cluster
from viewcounter.health.log_losses import LOSSES
from viewcounter.health.settings import ReadinessSettings
from viewcounter.health.shard_condition import (
    NO_CONFIG_SERVICE,
    REPORTS,
    describe_condition,
    describe_log,
    describe_log_memory,
)
from viewcounter.health.shard_status import describe_open_losses
from viewcounter.ingest.spool import SpoolState, measure_slots
from viewcounter.storage.deletion_clock import DELETION_LAG_LOGGED

TOPOLOGY, LOG, SPOOL, CONTROL_DATABASE, CACHE = "topology", "log", "spool", "control database", "cache"
CONFIG_SERVICE, API_KEYS, LOG_MEMORY = "config service", "API keys", "log memory"
SIGNATURE = "topology signature"
LOSS_SHOWN = timedelta(days=1)

_DELETION_LAGS = (
    "deletion by age lags the shard's clock by {hours:.1f} hours: a clock was set ahead, or no worker ran for that long"
)


@dataclass(frozen=True, slots=True)
class Part:
    status: Status
    reason: str = ""


UP = Part(Status.UP)


@dataclass(frozen=True, slots=True)
class Readiness:
    """`is_ready`: the process can accept events durably."""

    is_ready: bool
    parts: Mapping[str, Part]

    @property
    def status(self) -> str:
        if not self.is_ready:
            return "unready"
        return "ready" if all(part.status is Status.UP for part in self.parts.values()) else "degraded"


class ReadinessProbe:
    """Probes at most once in `keep_seconds`, however many requests there are: the address is public.

    `dependencies`: parts that acknowledging an event does not need, by name, each with its check and the meaning of
    its failure. `knows_key`: whether any API key can be checked while the control database does not answer.
    `find_key_copy_problem`: why no key could be checked then after a restart.
    Invariant: at most one caller probes at a time; the others wait for its result.
    """

    def __init__(
        self,
        settings: ReadinessSettings,
        *,
        dependencies: Mapping[str, tuple[Callable[[], object], str]],
        knows_key: Callable[[], bool],
        find_key_copy_problem: Callable[[], str] = lambda: "",
    ) -> None:
        self._settings = settings
        self._knows_key = knows_key
        self._find_key_copy_problem = find_key_copy_problem
        self._dependencies = {
            name: _Dependency(TimedCall(f"readiness-{name}", check), meaning)
            for name, (check, meaning) in dependencies.items()
        }
        self._log_trend = UsageTrend()
        self._trend_lock = Lock()
        self._lock = Lock()  # held while probing, so that concurrent requests cause one probe
        self._last: Readiness | None = None
        self._probed_at = 0.0

    def check(self, cluster: ClusterProxy, log: EventLog) -> Readiness:
        with self._lock:
            if self._last is None or time.monotonic() - self._probed_at > self._settings.keep_seconds:
                self._last = self._probe(cluster, log)
                self._probed_at = time.monotonic()
            return self._last

    def read_log_memory(self, log: EventLog) -> LogMemory | None:
        """None: the log does not answer, or its server has no memory limit. The time until it is full is known after
        some readings."""
        try:
            usage = log.read_usage(())
        except EventLogError:  # the part of the log says so
            return None
        with self._trend_lock:
            return self._log_trend.add(usage, at=time.monotonic())

    def _probe(self, cluster: ClusterProxy, log: EventLog) -> Readiness:
        settings = self._settings
        # All calls begin here and share one time limit: load balancers do not wait for one limit after the other.
        ends_at = time.monotonic() + settings.probe_seconds
        for dependency in self._dependencies.values():
            dependency.call.submit()
        REPORTS.submit()
        LOSSES.submit()
        parts: dict[str, Part] = {TOPOLOGY: _check_topology(cluster), LOG: _check_log(log)}
        parts |= build_memory_parts(self.read_log_memory(log), full_share=settings.log_full_share)
        if settings.spool_dir is not None:
            spool = measure_slots(settings.spool_dir)
            parts[SPOOL] = check_spool(spool, max_bytes=settings.spool_max_bytes)
            parts |= build_spool_parts(spool)
        takes_events = parts[LOG], parts.get(SPOOL, parts[LOG])
        if parts[TOPOLOGY].status is not Status.DOWN:
            _, shards = probe_cluster(
                cluster, timeout_seconds=settings.probe_seconds, max_lag_seconds=settings.max_lag_seconds
            )
            parts |= {name: part for health in shards for name, part in build_shard_parts(health)}
            reports = REPORTS.find_submitted(timeout_seconds=_get_rest(ends_at))
            parts |= build_condition_parts(reports) | build_log_parts(cluster.topology, reports or {})
            losses = LOSSES.find_submitted(timeout_seconds=_get_rest(ends_at))
            parts |= build_loss_parts(cluster.topology, losses, now=timezone.now())
        parts |= {name: d.finish(timeout_seconds=_get_rest(ends_at)) for name, d in self._dependencies.items()}
        parts[API_KEYS] = check_keys(
            parts.get(CONTROL_DATABASE, UP),
            knows_key=self._knows_key(),
            copy_problem=self._find_key_copy_problem(),
        )
        is_ready = (
            parts[TOPOLOGY].status is not Status.DOWN
            and parts[API_KEYS].status is not Status.DOWN
            and any(part.status is Status.UP for part in takes_events)
        )
        return Readiness(is_ready=is_ready, parts=parts)


@dataclass(frozen=True, slots=True)
class _Dependency:
    call: TimedCall[object]
    meaning: str

    def finish(self, *, timeout_seconds: float) -> Part:
        try:
            self.call.result(timeout_seconds=timeout_seconds)
        except Exception:  # third-party clients: whatever they raise, the part has failed
            return Part(Status.DOWN, self.meaning)
        return UP


def _get_rest(ends_at: float) -> float:
    return max(0.0, ends_at - time.monotonic())


def _check_topology(cluster: ClusterProxy) -> Part:
    """Names sources and reasons, never the content of a refused topology."""
    refused = cluster.refused_topologies
    try:
        _ = cluster.topology
    except NoTopology:
        if refused:
            return Part(Status.DOWN, f"no topology is valid, no event can be routed: {_describe_refused(refused)}")
        return Part(Status.DOWN, "no source and no disk copy has a topology: no event can be routed")
    if refused:
        return Part(Status.DEGRADED, f"the last valid topology stays in use: {_describe_refused(refused)}")
    return UP


def _describe_refused(refused: Mapping[str, str]) -> str:
    return "; ".join(
        f"the topology of {source} is refused ({reason.replace('_', ' ')})" for source, reason in refused.items()
    )


def check_keys(control_database: Part, *, knows_key: bool, copy_problem: str) -> Part:
    """A new host that starts without the control database knows no key and would refuse every request."""
    if control_database.status is Status.UP:
        return Part(Status.DEGRADED, copy_problem) if copy_problem else UP
    if knows_key:
        return Part(Status.DEGRADED, "known ones stay valid; new ones and revocations have no effect meanwhile")
    return Part(Status.DOWN, "no key can be checked: the control database does not answer and this host has no copy")


def _check_log(log: EventLog) -> Part:
    try:
        log.check()
    except LogUnfit as error:
        return Part(Status.DOWN, f"accepts no entries: {error}; {error.remedy}")
    except EventLogError:
        return Part(Status.DOWN, "accepts no entries: events go to the spool, or are refused without one")
    return UP


def build_memory_parts(memory: LogMemory | None, *, full_share: float) -> dict[str, Part]:
    """`log memory` while the log server refuses events, or soon will. `memory` None: unknown, or without a limit.

    Never down: the process can still answer, and every other gateway has the same log.
    """
    text = "" if memory is None else describe_log_memory(memory, full_share=full_share)
    return {LOG_MEMORY: Part(Status.DEGRADED, text)} if text else {}


def build_loss_parts(topology: Topology, losses: Sequence[LogLoss] | None, *, now: datetime) -> dict[str, Part]:
    """`log id` while the log has no id, `log losses` for a day after a loss of entries was recorded."""
    parts = {}
    if not topology.log_id:
        parts["log id"] = Part(Status.DEGRADED, "the event log has no id, so a loss goes unnoticed: run migrate_shards")
    if losses and now - losses[0].found_at < LOSS_SHOWN:
        count = sum(now - loss.found_at < LOSS_SHOWN for loss in losses)
        reason = f"the log has lost entries of {count} partitions, last at {losses[0].found_at:%Y-%m-%dT%H:%M:%SZ}"
        parts["log losses"] = Part(Status.DEGRADED, f"{reason}: see GET /v1/cluster")
    return parts


def check_spool(state: SpoolState, *, max_bytes: int) -> Part:
    """The spools of all gateway processes on this host."""
    slots = state.slot_bytes
    if slots and min(slots) >= max_bytes:
        return Part(Status.DOWN, "is full: events are refused until the log accepts entries again")
    if sum(slots) > 0:
        return Part(Status.DEGRADED if max(slots) >= max_bytes else Status.UP, "holds events that wait for the log")
    return UP


def build_spool_parts(state: SpoolState) -> dict[str, Part]:
    """`spooled events`, if some cannot be delivered; the spool goes on accepting others."""
    refused = ", ".join(map(str, state.refused_partitions))
    troubles = [
        f"the log refuses events of partitions {refused}" if refused else "",
        f"{state.damaged_count} damaged files are set aside" if state.damaged_count else "",
    ]
    return {"spooled events": Part(Status.DEGRADED, "; ".join(filter(None, troubles)))} if any(troubles) else {}


def build_shard_parts(health: ShardHealth) -> Iterator[tuple[str, Part]]:
    """One part for each instance; `<shard> schema`; `<shard> deletion` while expired rows are kept for too long;
    `<shard> log losses` until an operator has closed them; and `<shard> durability` while it is not met."""
    shard = health.shard
    if shard.primary is None:
        yield f"{shard.name} primary", Part(Status.DOWN, "the shard has no primary: its events wait in the log")
    by_name = {i.instance.name: i for i in health.instances}
    for name, instance in label_instances(shard):
        yield name, Part(by_name[instance.name].status, by_name[instance.name].reason)
    schema = UP if health.has_our_schema else Part(Status.DOWN, "is of another release: run migrate_shards")
    yield f"{shard.name} schema", schema
    behind_seconds = health.deletion_behind_seconds
    if behind_seconds is not None and behind_seconds > DELETION_LAG_LOGGED.total_seconds():
        yield f"{shard.name} deletion", Part(Status.DEGRADED, _DELETION_LAGS.format(hours=behind_seconds / 3600))
    if health.open_losses:
        yield f"{shard.name} log losses", Part(Status.DEGRADED, describe_open_losses(health.open_losses))
    if health.durability is not DurabilityState.MET:
        blocked = health.durability is DurabilityState.BLOCKED
        yield f"{shard.name} durability", Part(Status.DOWN if blocked else Status.DEGRADED, health.durability_reason)


def build_condition_parts(reports: Mapping[str, ShardReport] | None) -> dict[str, Part]:
    """`config service`, and `<shard> condition` if one reports on the shards; nothing without the control database."""
    if reports is None:
        return {}
    if not has_config_service(reports.values()):
        return {CONFIG_SERVICE: Part(Status.DEGRADED, NO_CONFIG_SERVICE)}
    conditions = {f"{name} condition": Part(*describe_condition(report)) for name, report in reports.items()}
    return {CONFIG_SERVICE: UP} | conditions


def build_log_parts(topology: Topology, reports: Mapping[str, ShardReport]) -> dict[str, Part]:
    """`<shard> log` while the event log is kept for an absent replica."""
    labels = {i.name: label for shard in topology.shards for label, i in label_instances(shard)}
    texts = {name: describe_log(report, labels) for name, report in reports.items()}
    return {f"{name} log": Part(Status.DEGRADED, text) for name, text in texts.items() if text}


def label_instances(shard: Shard) -> list[tuple[str, Instance]]:
    """`<shard> primary`, `<shard> replica`, `<shard> replica 2`, `<shard> fenced`, …"""
    named = []
    seen = dict.fromkeys(Role, 0)
    for instance in shard.instances:
        seen[instance.role] += 1
        number = f" {seen[instance.role]}" if seen[instance.role] > 1 else ""
        named.append((f"{shard.name} {instance.role}{number}", instance))
    return named

"""The loop of a config service process: monitors every instance and, as leader, reconciles every shard.

Two or more processes run; all monitor, one leads. Monitoring continues from memory while the control database is
unreachable; no change is made without the lease, which needs it. One loop renews the lease and decides. Longer work
(a failover, a fence) runs in one thread for each shard, so a slow shard delays neither the lease nor other shards.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from django.db import DatabaseError, connections

from configservice.errors import ConfigServiceError, ControlDatabaseUnavailable, LeaseLost
from configservice.failover.conditions import ConditionRecorder, LogKept, derive_condition
from configservice.failover.executor import FailoverObserver
from configservice.failover.kept_log import LogShare, LogWatch
from configservice.failover.lease import Lease
from configservice.failover.reconciler import ShardDirectives, ShardReconciler, read_directives
from configservice.failover.records import Condition
from configservice.monitoring.connections import Connect
from configservice.monitoring.failure_detection import PrimaryVerdict, StandbyWitness, Witness, classify_primary
from configservice.monitoring.monitor import Monitor
from configservice.monitoring.probe_result import ProbeResult
from configservice.registry.heartbeat import ProcessCondition
from configservice.registry.services import ServiceState
from configservice.settings import ConfigServiceSettings
from configservice.topology import publication
from configservice.topology.model import Shard, Topology
from configservice.topology.published_snapshot import PublishedSnapshot
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

STALL_SECONDS = 1.0
"""A tick that starts this much too late means that this process was paused, and its probes with it."""

STUCK_SECONDS = 30.0
"""A loop that has completed no tick for this long is stuck; the bounds within a tick add up to far less."""


class DaemonObserver(FailoverObserver, Protocol):
    def record_tick(self, *, leads: bool, silent_instances: Sequence[str]) -> None: ...

    def record_excluded(self, count: int) -> None:
        """Number of replicas that the event log is no longer kept for. Called while this process leads."""

    def record_log_shares(self, shares: Mapping[str, LogShare | None]) -> None:
        """Use of the event log by shard name; None if unknown. Called while this process leads."""

    def record_conditions(self, conditions: dict[str, Condition]) -> None:
        """Conditions by shard name. Called while this process leads."""


class ConfigService:
    """`run` blocks until `stop`. Uses the Django connections of its threads and reopens them after errors."""

    def __init__(
        self,
        *,
        lease: Lease,
        connect: Connect,
        settings: ConfigServiceSettings,
        observer: DaemonObserver,
        log: LogWatch,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self._lease = lease
        self._connect = connect
        self._settings = settings
        self._observer = observer
        self._log = log
        self._monitor = Monitor(connect, settings)
        self._witnesses = (StandbyWitness(settings), *witnesses)
        self._conditions = ConditionRecorder()
        self._outage = OutageLog(
            logger,
            failed="the control database does not answer, no shard fails over and instances are watched from memory",
            recovered="the control database answers again",
        )
        self._published: PublishedSnapshot | None = None
        self._topology: Topology | None = None  # decoded from `_published`
        self._reconcilers: dict[int, ShardReconciler] = {}
        self._at_work: dict[int, Future[None]] = {}
        self._stopping = threading.Event()
        self._is_woken = False
        self._led = False
        self._look_at = 0.0
        self._next_heartbeat_at = 0.0
        self._last_full_tick_at: float | None = None  # end of the last tick with a probe result of every instance

    def stop(self) -> None:
        """Called from a signal handler or another thread. A running failover stops after its current step."""
        self._stopping.set()
        self._monitor.changed.set()

    def describe(self) -> ProcessCondition:
        """For the service registry. Thread-safe."""
        topology, leads = self._topology, self._lease.leader_generation is not None
        epoch = None if topology is None else topology.epoch
        is_well, body = self.check_health()
        if not is_well:
            return ProcessCondition(ServiceState.IMPAIRED, f"the loop is {body['status']}", epoch)
        return ProcessCondition(ServiceState.SERVING if leads else ServiceState.STANDBY, epoch=epoch)

    def check_health(self) -> tuple[bool, dict[str, object]]:
        """Whether the loop works, with a summary of what it observes. Thread-safe.

        Not healthy before every instance was probed once: from then on a leader reports a condition of every shard.
        """
        topology, probes = self._topology, self._monitor.get_probes()
        last_full_tick_at = self._last_full_tick_at
        is_stuck = last_full_tick_at is not None and time.monotonic() - last_full_tick_at > STUCK_SECONDS
        status = "starting" if last_full_tick_at is None else "stuck" if is_stuck else "ok"
        return status == "ok", {
            "status": status,
            "leads": self._lease.leader_generation is not None,
            "epoch": None if topology is None else topology.epoch,
            "instances": {name: "up" if probe.answers else "down" for name, probe in probes.items()},
        }

    def run(self) -> None:
        with ThreadPoolExecutor(self._settings.max_parallel_actions, thread_name_prefix="shard") as executor:
            last_tick_at = time.monotonic()
            while not self._stopping.is_set():
                now = time.monotonic()
                due_seconds = max(self._settings.tick_seconds, self._settings.calm_tick_seconds)
                if now - last_tick_at > due_seconds + STALL_SECONDS + self._settings.lease_call_seconds:
                    logger.warning("paused for %.1f s: missed probes are discarded", now - last_tick_at)
                    self._monitor.reset_after_pause()
                last_tick_at = now
                self._tick(executor)
                self._is_woken = self._monitor.changed.wait(
                    self._settings.calm_tick_seconds if self._is_calm() else self._settings.tick_seconds
                )
                self._monitor.changed.clear()
        self._lease.release()
        self._monitor.close()
        self._log.close()
        for reconciler in self._reconcilers.values():
            reconciler.close()
        connections.close_all()

    def _is_calm(self) -> bool:
        """Whether every instance answers and no shard is being changed: nothing becomes due by time alone."""
        probes = self._monitor.get_probes().values()
        return all(probe.answers for probe in probes) and all(future.done() for future in self._at_work.values())

    def _must_look(self, *, leads: bool) -> bool:
        """Whether to read the control tables and to decide, or only to keep the lease. After a change: always."""
        now = time.monotonic()
        is_due = now >= self._look_at or self._is_woken or not self._is_calm() or leads != self._led
        if is_due:
            self._look_at, self._led = now + self._settings.look_seconds, leads
        return is_due

    def _tick(self, executor: ThreadPoolExecutor) -> None:
        """Never raises: the next tick retries after a failure."""
        leads = self._lease.hold()
        try:
            if self._must_look(leads=leads):
                self._refresh_topology()
                if leads and self._topology is not None:
                    self._reconcile(self._topology, executor)
                self._outage.report_success()
        except (DatabaseError, ControlDatabaseUnavailable) as error:
            self._outage.report_failure(_get_first_line(error))
            connections.close_all()
        except LeaseLost as error:
            logger.warning("%s", error)
        except Exception:  # the loop must go on, or no shard would be failed over
            logger.exception("a tick failed; the next one retries")
        if self._topology is not None and not find_unprobed(self._monitor.get_probes(), self._topology.shards):
            self._last_full_tick_at = time.monotonic()
        self._record_tick(leads=leads)

    def _refresh_topology(self) -> None:
        found = publication.read_from_control_database(self._published)
        if found is not None:
            topology = found.decode()
            self._monitor.watch(topology)
            self._log.watch(topology)
            self._published, self._topology = found, topology

    def _reconcile(self, topology: Topology, executor: ThreadPoolExecutor) -> None:
        leader_generation = self._lease.leader_generation
        if leader_generation is None:
            return
        directives = read_directives(default_mode=self._settings.failover_mode)
        self._observer.record_excluded(sum(len(d.excluded) for d in directives.values()))
        conditions: dict[int, tuple[Condition, str]] = {}
        kept: dict[int, LogKept] = {}
        for shard in topology.shards:
            verdict = self._classify_primary(shard)
            is_busy = self._is_busy(shard)
            directive = directives.get(shard.id)
            if directive is not None and not is_busy:
                is_busy = self._start_work(shard, verdict, directive, leader_generation, executor)
            if directive is not None and directive.absent_seconds:
                kept[shard.id] = LogKept(tuple(sorted(directive.absent_seconds)), self._log.get_share(shard.id))
            probes = self._monitor.get_probes()
            if find_unprobed(probes, [shard]):
                continue  # a shard that has not been probed has no condition yet, not the worst one
            conditions[shard.id] = derive_condition(
                shard,
                probes,
                verdict,
                is_changing=is_busy and directive is not None and directive.open_failover is not None,
            )
        self._conditions.record(conditions, kept, leader_generation=leader_generation)
        self._observer.record_log_shares({s.name: self._log.get_share(s.id) for s in topology.shards})
        self._observer.record_conditions({s.name: conditions[s.id][0] for s in topology.shards if s.id in conditions})

    def _classify_primary(self, shard: Shard) -> PrimaryVerdict:
        return classify_primary(
            shard, self._monitor.get_probes(), self._witnesses, now=time.monotonic(), settings=self._settings
        )

    def _is_busy(self, shard: Shard) -> bool:
        future = self._at_work.get(shard.id)
        return future is not None and not future.done()

    def _start_work(
        self,
        shard: Shard,
        verdict: PrimaryVerdict,
        directive: ShardDirectives,
        leader_generation: int,
        executor: ThreadPoolExecutor,
    ) -> bool:
        """Starts the work that the shard needs, in a thread. False if it needs none."""
        reconciler = self._reconcilers.get(shard.id)
        if reconciler is None:
            reconciler = self._reconcilers[shard.id] = ShardReconciler(
                lease=self._lease,
                monitor=self._monitor,
                connect=self._connect,
                settings=self._settings,
                observer=self._observer,
                log=self._log,
                is_stopping=self._stopping.is_set,
            )
        work = reconciler.plan_work(
            shard, verdict, directive, leader_generation=leader_generation, now=time.monotonic()
        )
        if work is None:
            return False
        self._at_work[shard.id] = executor.submit(self._run_work, shard.name, work)
        return True

    def _run_work(self, shard_name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (DatabaseError, ConfigServiceError) as error:
            logger.warning("%s: %s: %s", shard_name, type(error).__name__, _get_first_line(error))
        except Exception:  # nobody reads the result of the future, so log the error here
            logger.exception("%s: reconciling the shard failed", shard_name)
        finally:
            connections.close_all()
            self._monitor.changed.set()

    def _record_tick(self, *, leads: bool) -> None:
        probes = self._monitor.get_probes()
        silent = sorted(name for name, probe in probes.items() if not probe.answers)
        self._observer.record_tick(leads=leads, silent_instances=silent)
        now = time.monotonic()
        if now >= self._next_heartbeat_at:
            self._next_heartbeat_at = now + self._settings.heartbeat_seconds
            logger.info(
                "%s %s, epoch %s, %d of %d instances answer%s",
                self._lease.holder,
                f"leads, leader generation {self._lease.leader_generation}" if leads else "stands by",
                "none" if self._topology is None else self._topology.epoch,
                len(probes) - len(silent),
                len(probes),
                f"; silent: {', '.join(silent)}" if silent else "",
            )


def find_unprobed(probes: Mapping[str, ProbeResult], shards: Iterable[Shard]) -> list[str]:
    """Names of instances that have neither answered nor failed a probe yet. Pure."""
    names = [instance.name for shard in shards for instance in shard.instances]
    return [n for n in names if n not in probes or not (probes[n].answers or probes[n].failure_count)]


def _get_first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

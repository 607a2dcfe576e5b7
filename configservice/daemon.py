"""A config service process: watches every instance, and if it leads, looks after every shard.

Two or more run; all watch, one leads. The watching needs no control database and goes on from memory without it;
nothing is changed without the lease, which needs it. One loop renews the lease and decides; what takes longer (a
failover, a fence) runs in a thread a shard beside it, so a slow shard holds up neither the lease nor the others.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from django.db import DatabaseError, connections

from configservice.errors import ConfigServiceError, ControlDatabaseUnavailable, LeaseLost
from configservice.failover.executor import FailoverObserver
from configservice.failover.kept_log import LogShare, LogWatch
from configservice.failover.lease import Lease
from configservice.failover.reconciler import ShardDirectives, ShardReconciler, read_directives
from configservice.failover.records import Condition
from configservice.monitoring.conditions import ConditionKeeper, LogKept, derive_condition
from configservice.monitoring.connections import Connect
from configservice.monitoring.failure_detection import PrimaryVerdict, StandbyWitness, Witness, classify_primary
from configservice.monitoring.monitor import Monitor
from configservice.monitoring.probe_result import ProbeResult
from configservice.registry.heartbeat import ProcessCondition as ServiceCondition
from configservice.registry.services import ServiceState
from configservice.settings import ConfigServiceSettings
from configservice.topology import publication
from configservice.topology.model import Shard, Topology
from configservice.topology.published_snapshot import PublishedSnapshot

logger = logging.getLogger(__name__)

STALL_SECONDS = 1.0
"""The loop was away this much longer than it wanted: so were the probes, and nobody else is to blame."""


STUCK_SECONDS = 30.0
"""A loop that has ended no tick for so long is stuck; the bounds of one add up to far less."""


class DaemonObserver(FailoverObserver, Protocol):
    def note_tick(self, *, leads: bool, silent_instances: Sequence[str]) -> None: ...

    def note_struck_off(self, count: int) -> None:
        """Instances of the cluster that are struck off, while this process leads."""

    def note_log_shares(self, shares: Mapping[str, LogShare | None]) -> None:
        """What each shard's entries take of the event log, by name; None: not known. While this process leads."""

    def note_conditions(self, conditions: dict[str, Condition]) -> None:
        """Of every shard by name, while this process leads."""


class ConfigService:
    """`run` blocks until `stop`. The Django connection of the calling thread is used and, after errors, made anew."""

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
        self._conditions = ConditionKeeper()
        self._published: PublishedSnapshot | None = None
        self._topology: Topology | None = None  # what it says
        self._caretakers: dict[int, ShardReconciler] = {}
        self._at_work: dict[int, Future[None]] = {}
        self._stopping = threading.Event()
        self._next_heartbeat_at = 0.0
        self._looked_at: float | None = None  # the end of the last tick that knew of every instance

    def stop(self) -> None:
        """From a signal handler or another thread. A failover under way ends after its current step."""
        self._stopping.set()
        self._monitor.changed.set()

    def describe(self) -> ServiceCondition:
        """For the service registry. From any thread."""
        topology, leads = self._topology, self._lease.generation is not None
        epoch = None if topology is None else topology.epoch
        is_well, body = self.check_health()
        if not is_well:
            return ServiceCondition(ServiceState.IMPAIRED, f"its loop is {body['status']}", epoch)
        return ServiceCondition(ServiceState.SERVING if leads else ServiceState.STANDBY, epoch=epoch)

    def check_health(self) -> tuple[bool, dict[str, object]]:
        """Whether it looks at the cluster, whatever it sees, and what that is. From any thread.

        Not well before it has asked every instance once: then a leader has told the condition of every shard.
        """
        topology, sightings = self._topology, self._monitor.get_sightings()
        looked_at = self._looked_at
        is_stuck = looked_at is not None and time.monotonic() - looked_at > STUCK_SECONDS
        status = "starting" if looked_at is None else "stuck" if is_stuck else "ok"
        return status == "ok", {
            "status": status,
            "leads": self._lease.generation is not None,
            "epoch": None if topology is None else topology.epoch,
            "instances": {name: "up" if sighting.answers else "down" for name, sighting in sightings.items()},
        }

    def run(self) -> None:
        with ThreadPoolExecutor(self._settings.max_parallel_actions, thread_name_prefix="shard") as executor:
            last_tick_at = time.monotonic()
            while not self._stopping.is_set():
                now = time.monotonic()
                if now - last_tick_at > self._settings.tick_seconds + STALL_SECONDS + self._settings.lease_call_seconds:
                    logger.warning("stood still for %.1f s: silence is counted anew", now - last_tick_at)
                    self._monitor.reset_after_pause()
                last_tick_at = now
                self._tick(executor)
                self._monitor.changed.wait(self._settings.tick_seconds)
                self._monitor.changed.clear()
        self._lease.release()
        self._monitor.close()
        self._log.close()
        for caretaker in self._caretakers.values():
            caretaker.close()
        connections.close_all()

    def _tick(self, executor: ThreadPoolExecutor) -> None:
        """Never raises: whatever fails is tried again in the next one."""
        leads = self._lease.hold()
        try:
            self._refresh_topology()
            if leads and self._topology is not None:
                self._look_after(self._topology, executor)
        except (DatabaseError, ControlDatabaseUnavailable) as error:
            logger.warning("the control database does not answer, watching from memory: %s", _get_first_line(error))
            connections.close_all()
        except LeaseLost as error:
            logger.warning("%s", error)
        except Exception:  # a loop that died here would leave every shard without failover
            logger.exception("this tick failed; the next one tries again")
        if self._topology is not None and not find_unasked(self._monitor.get_sightings(), self._topology.shards):
            self._looked_at = time.monotonic()
        self._note_tick(leads=leads)

    def _refresh_topology(self) -> None:
        found = publication.read_from_control_database(self._published)
        if found is not None:
            topology = found.decode()
            self._monitor.watch(topology)
            self._log.watch(topology)
            self._published, self._topology = found, topology

    def _look_after(self, topology: Topology, executor: ThreadPoolExecutor) -> None:
        generation = self._lease.generation
        if generation is None:
            return
        orders = read_directives(default_mode=self._settings.failover_mode)
        self._observer.note_struck_off(sum(len(order.struck_off) for order in orders.values()))
        conditions: dict[int, tuple[Condition, str]] = {}
        kept: dict[int, LogKept] = {}
        for shard in topology.shards:
            verdict = self._judge(shard)
            is_busy = self._is_busy(shard)
            order = orders.get(shard.id)
            if order is not None and not is_busy:
                is_busy = self._give_to_caretaker(shard, verdict, order, generation, executor)
            if order is not None and order.away_seconds:
                kept[shard.id] = LogKept(tuple(sorted(order.away_seconds)), self._log.get_share(shard.id))
            sightings = self._monitor.get_sightings()
            if find_unasked(sightings, [shard]):
                continue  # nothing is known yet, and nothing is not the worst
            conditions[shard.id] = derive_condition(
                shard,
                sightings,
                verdict,
                is_changing=is_busy and order is not None and order.open_failover is not None,
            )
        self._conditions.keep(conditions, kept, generation=generation)
        self._observer.note_log_shares({s.name: self._log.get_share(s.id) for s in topology.shards})
        self._observer.note_conditions({s.name: conditions[s.id][0] for s in topology.shards if s.id in conditions})

    def _judge(self, shard: Shard) -> PrimaryVerdict:
        return classify_primary(
            shard, self._monitor.get_sightings(), self._witnesses, now=time.monotonic(), settings=self._settings
        )

    def _is_busy(self, shard: Shard) -> bool:
        future = self._at_work.get(shard.id)
        return future is not None and not future.done()

    def _give_to_caretaker(
        self,
        shard: Shard,
        verdict: PrimaryVerdict,
        order: ShardDirectives,
        generation: int,
        executor: ThreadPoolExecutor,
    ) -> bool:
        """Whether there is something to be done for the shard, which its caretaker then does in a thread."""
        caretaker = self._caretakers.get(shard.id)
        if caretaker is None:
            caretaker = self._caretakers[shard.id] = ShardReconciler(
                lease=self._lease,
                monitor=self._monitor,
                connect=self._connect,
                settings=self._settings,
                observer=self._observer,
                log=self._log,
                is_stopping=self._stopping.is_set,
            )
        work = caretaker.plan_work(shard, verdict, order, generation=generation, now=time.monotonic())
        if work is None:
            return False
        self._at_work[shard.id] = executor.submit(self._run_work, shard.name, work)
        return True

    def _run_work(self, shard_name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (DatabaseError, ConfigServiceError) as error:
            logger.warning("%s: %s: %s", shard_name, type(error).__name__, _get_first_line(error))
        except Exception:  # would vanish in the future otherwise
            logger.exception("%s: the work on it failed", shard_name)
        finally:
            connections.close_all()
            self._monitor.changed.set()

    def _note_tick(self, *, leads: bool) -> None:
        sightings = self._monitor.get_sightings()
        silent = sorted(name for name, sighting in sightings.items() if not sighting.answers)
        self._observer.note_tick(leads=leads, silent_instances=silent)
        now = time.monotonic()
        if now >= self._next_heartbeat_at:
            self._next_heartbeat_at = now + self._settings.heartbeat_seconds
            logger.info(
                "%s %s, epoch %s, %d of %d instances answer%s",
                self._lease.holder,
                f"leads, generation {self._lease.generation}" if leads else "stands by",
                "none" if self._topology is None else self._topology.epoch,
                len(sightings) - len(silent),
                len(sightings),
                f"; silent: {', '.join(silent)}" if silent else "",
            )


def find_unasked(sightings: Mapping[str, ProbeResult], shards: Iterable[Shard]) -> list[str]:
    """Instances that have neither answered nor failed yet. Pure."""
    names = [instance.name for shard in shards for instance in shard.instances]
    return [n for n in names if n not in sightings or not (sightings[n].answers or sightings[n].failure_count)]


def _get_first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Reconciles one shard for the leader: starts and continues changes of primary, and corrects roles in between."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from django.utils import timezone

from configservice.errors import ActionFailed, InstanceRefuses, InstanceUnreachable
from configservice.failover import absence, journal
from configservice.failover.durability import SynchronousPlan, find_living, plan_synchronous
from configservice.failover.executor import Executor, FailoverObserver
from configservice.failover.kept_log import LogWatch
from configservice.failover.lease import Lease
from configservice.failover.operator import Operator
from configservice.failover.plan import can_begin, describe_lacks
from configservice.failover.probe import probe_shard, read_lacking
from configservice.failover.records import Failover
from configservice.failover.roles import Correction, RolePlan, find_state, plan_roles
from configservice.failover.state import FailoverEvent, FailoverKind, FailoverState
from configservice.models import Instance as InstanceRow
from configservice.models import RoleChoice
from configservice.models import Shard as ShardRow
from configservice.monitoring.connections import Connect
from configservice.monitoring.failure_detection import PrimaryVerdict
from configservice.monitoring.monitor import Monitor
from configservice.monitoring.probe_result import DETACHED_HOST
from configservice.settings import ConfigServiceSettings, FailoverMode
from configservice.topology.model import Instance, Role, Shard

logger = logging.getLogger(__name__)

ACTOR = "config service"
RETRY_SECONDS = 2.0
"""Minimum pause before a correction is tried again."""

_EXTERNAL = "an external manager controls the roles of this shard (failover mode external): use that manager"

Work = Callable[[], None]


@dataclass(frozen=True, slots=True)
class ShardDirectives:
    """State of a shard in the control tables that is not part of the topology."""

    mode: FailoverMode
    open_failover: Failover | None = None
    excluded: frozenset[str] = field(default_factory=frozenset)
    absent_seconds: Mapping[str, float] = field(default_factory=dict)
    """By instance name: how long ago its absence was recorded."""


def read_directives(*, default_mode: FailoverMode) -> dict[int, ShardDirectives]:
    """Directives of all shards by shard id. Raises DatabaseError."""
    modes = dict(ShardRow.objects.values_list("id", "failover_mode"))
    failovers: Mapping[int, Failover] = {f.shard_id: f for f in Failover.objects.filter(finished_at__isnull=True)}
    excluded: dict[int, set[str]] = {}
    for shard_id, name in InstanceRow.objects.filter(excluded_at__isnull=False).values_list("shard_id", "name"):
        excluded.setdefault(shard_id, set()).add(name)
    absent: dict[int, dict[str, float]] = {}
    now = timezone.now()
    waited_for = InstanceRow.objects.filter(
        away_since__isnull=False, role=RoleChoice.REPLICA, promotable=True, drained=False
    )
    for shard_id, name, since in waited_for.values_list("shard_id", "name", "away_since"):
        absent.setdefault(shard_id, {})[name] = (now - since).total_seconds()
    return {
        shard_id: ShardDirectives(
            mode=FailoverMode(mode) if mode else default_mode,
            open_failover=failovers.get(shard_id),
            excluded=frozenset(excluded.get(shard_id, ())),
            absent_seconds=absent.get(shard_id, {}),
        )
        for shard_id, mode in modes.items()
    }


class ShardReconciler:
    """For one shard. The loop calls `plan_work`; the returned work runs in one other thread at a time."""

    def __init__(
        self,
        *,
        lease: Lease,
        monitor: Monitor,
        connect: Connect,
        settings: ConfigServiceSettings,
        observer: FailoverObserver,
        log: LogWatch,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._lease = lease
        self._log = log
        self._monitor = monitor
        self._settings = settings
        self._operator = Operator(connect, action_seconds=settings.action_seconds)
        self._executor = Executor(
            lease, monitor, self._operator, settings, observer=observer, log=log, is_stopping=is_stopping
        )
        self._tried_at: dict[tuple[Correction, str], float] = {}
        self._synchronized_at = -RETRY_SECONDS
        self._synchronized_to: str | None = None

    def plan_work(
        self, shard: Shard, verdict: PrimaryVerdict, directives: ShardDirectives, *, leader_generation: int, now: float
    ) -> Work | None:
        """None if the shard needs no work. Decides from memory and `directives`, without any query."""
        if directives.open_failover is not None and _is_not_ours(directives):
            return partial(
                journal.record_event,
                directives.open_failover,
                FailoverEvent.REFUSE,
                leader_generation=leader_generation,
                message=_EXTERNAL,
            )
        if directives.open_failover is not None:
            return partial(self._executor.run, directives.open_failover, shard)
        if verdict.is_dead and directives.mode is FailoverMode.AUTOMATIC:
            return partial(self._fail_over, shard, verdict, leader_generation)
        plans = plan_roles(
            shard,
            self._monitor.get_probes(),
            mode=directives.mode,
            excluded=directives.excluded,
            absent_seconds=directives.absent_seconds,
            log_share=self._log.get_share(shard.id),
            now=now,
            settings=self._settings,
        )
        due = [p for p in plans if now - self._tried_at.get((p.correction, p.name), -RETRY_SECONDS) >= RETRY_SECONDS]
        if not due:
            return self._find_durability_work(shard, directives, now=now)
        self._tried_at = {key: at for key, at in self._tried_at.items() if now - at < RETRY_SECONDS}
        self._tried_at.update({(p.correction, p.name): now for p in due})
        return partial(self._correct, shard, due, directives.mode, leader_generation)

    def close(self) -> None:
        self._operator.close()

    def _find_durability_work(self, shard: Shard, directives: ShardDirectives, *, now: float) -> Work | None:
        """None in external mode: an external manager also controls which standbys commits wait for."""
        primary = shard.primary
        probes = self._monitor.get_probes()
        living = find_living(shard, probes, now=now, patience_seconds=self._settings.standby_loss_seconds)
        state = None if primary is None else find_state(probes, primary)
        if directives.mode is FailoverMode.EXTERNAL or primary is None or state is None or living is None:
            return None
        wanted = plan_synchronous(shard, living=living)
        is_due = now - self._synchronized_at >= RETRY_SECONDS or wanted.setting != self._synchronized_to
        if state.in_recovery or state.synchronous_standby_names == wanted.setting or not is_due:
            return None
        self._synchronized_at, self._synchronized_to = now, wanted.setting
        return partial(self._synchronize, shard, primary, wanted)

    def _synchronize(self, shard: Shard, primary: Instance, wanted: SynchronousPlan) -> None:
        logger.log(
            logging.WARNING if wanted.is_degraded else logging.INFO,
            "%s: commits wait for %d of %d replicas: %s",
            shard.name,
            wanted.waited_for,
            wanted.wanted,
            wanted.setting or "none",
        )
        self._lease.check()
        self._operator.synchronize(primary, setting=wanted.setting)

    def _fail_over(self, shard: Shard, verdict: PrimaryVerdict, leader_generation: int) -> None:
        view = probe_shard(shard, self._monitor.get_probes(), self._operator, find_lacking=self._log.find_lacking)
        primary = shard.primary
        if primary is None or not can_begin(view, old_primary=primary.name):
            for member in view.standbys:
                if why := describe_lacks(member):
                    logger.error("%s: %s is not promoted: it %s", shard.name, member.name, why)
            return  # the shard's condition reports it; the next tick tries again
        self._begin(shard, FailoverKind.AUTOMATIC, verdict.why, leader_generation)

    def _begin(self, shard: Shard, kind: FailoverKind, why: str, leader_generation: int) -> None:
        primary = shard.primary
        if primary is None:
            return
        probe = self._monitor.get_probes().get(primary.name)
        state = None if probe is None else probe.state
        row = journal.begin(
            shard.id,
            kind=kind,
            old_primary=primary.name,
            reason=why,
            actor=ACTOR,
            names="" if state is None else state.synchronous_standby_names,
            leader_generation=leader_generation,
        )
        if row is not None:
            self._executor.run(row, shard)

    def _correct(self, shard: Shard, plans: list[RolePlan], mode: FailoverMode, leader_generation: int) -> None:
        for plan in plans:
            about = {"shard": shard.name}
            logger.warning("%s: %s %s: %s", shard.name, plan.correction, plan.name, plan.why, extra=about)
            self._lease.check()
            try:
                self._apply(plan, shard, mode, leader_generation)
            except (InstanceUnreachable, InstanceRefuses, ActionFailed) as error:
                logger.warning("%s: %s %s failed: %s", shard.name, plan.correction, plan.name, error, extra=about)

    def _apply(self, plan: RolePlan, shard: Shard, mode: FailoverMode, leader_generation: int) -> None:
        instance = next(i for i in shard.instances if i.name == plan.name)
        match plan.correction:
            case Correction.FOLLOW:
                kind = FailoverKind.FOLLOWED if mode is FailoverMode.EXTERNAL else FailoverKind.AUTOMATIC
                self._begin(shard, kind, plan.why, leader_generation)
            case Correction.MARK_FENCED:
                self._change_role(shard, instance, Role.FENCED, plan, leader_generation)
            case Correction.FENCE:
                self._operator.fence(instance, drain_seconds=0.0)
            case Correction.RELEASE:
                self._operator.release(instance)
            case Correction.REJOIN if self._may_be_promoted(instance, shard):
                self._change_role(shard, instance, Role.REPLICA, plan, leader_generation)
            case Correction.REATTACH:
                self._reattach(instance, shard)
            case Correction.REINSTATE if self._may_be_promoted(instance, shard):
                absence.reinstate(instance.name, actor=ACTOR, leader_generation=leader_generation)
            case Correction.RECORD_ABSENCE:
                absence.record_absence(instance.name, now=timezone.now(), leader_generation=leader_generation)
            case Correction.RECORD_RETURN:
                absence.record_return(instance.name, leader_generation=leader_generation)
            case Correction.RELEASE_LOG_HOLD:
                absence.release_log_hold(instance.name, why=plan.why, actor=ACTOR, leader_generation=leader_generation)

    def _may_be_promoted(self, instance: Instance, shard: Shard) -> bool:
        """Whether its shard term proves that it follows this primary and no other, and the event log still holds all
        entries that it has not applied."""
        if self._operator.find_term(instance) != shard.term:
            return False
        self._log.read_now()
        lacking = read_lacking(instance, shard, self._operator, self._log.find_lacking)
        if lacking:
            logger.info("%s: %s still lacks entries of partitions %s", shard.name, instance.name, lacking)
        return not lacking

    def _reattach(self, instance: Instance, shard: Shard) -> None:
        """Repoints a standby that was detached, or that follows a fenced instance.

        Any other address is an operator's: another route to the primary, or a cascade from a replica.
        """
        upstream = self._operator.find_upstream(instance)
        left = {(i.host, i.port) for i in shard.instances if i.role is Role.FENCED}
        is_lost = upstream is not None and (upstream[0] == DETACHED_HOST or upstream in left)
        if shard.primary is not None and is_lost:
            self._operator.follow(instance, shard.primary)

    @staticmethod
    def _change_role(shard: Shard, instance: Instance, role: Role, plan: RolePlan, leader_generation: int) -> None:
        reason = f"{instance.name} is {role.value}: {plan.why}"
        journal.change_role(
            shard.id, instance.name, role, reason=reason, actor=ACTOR, leader_generation=leader_generation
        )


def _is_not_ours(directives: ShardDirectives) -> bool:
    failover = directives.open_failover
    return (
        directives.mode is FailoverMode.EXTERNAL and failover is not None and failover.state == FailoverState.REQUESTED
    )

"""Carries out a change of primary: probe, plan, check, act, record, until it is finished or the lease is lost.

The lease is checked before each step, so a replaced leader stops there. The one step that it may still take, if it was
frozen between check and step, meets a newer shard term: see decision 0011.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from django.utils import timezone

from configservice.errors import ActionFailed, InstanceRefuses, InstanceUnreachable
from configservice.failover import actions, journal
from configservice.failover.kept_log import LogWatch
from configservice.failover.lease import Lease
from configservice.failover.operator import Operator
from configservice.failover.plan import check_action, plan_next
from configservice.failover.probe import probe_shard
from configservice.failover.records import Failover
from configservice.failover.state import FINISHED, FailoverEvent, FailoverState
from configservice.monitoring.monitor import Monitor
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Instance, Shard
from runtime.logs import log_fields

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.02
_COMPARED = frozenset({FailoverState.REQUESTED, FailoverState.STARTED, FailoverState.CHOSEN})
"""States in which a candidate may still be chosen: standbys are compared with the event log."""


class FailoverObserver(Protocol):
    """Receives the outcome of failovers, for metrics."""

    def record_failover(self, *, kind: str, outcome: str, seconds: float) -> None:
        """`seconds` from the last answer of the old primary, or from the request, to the end."""


class Executor:
    """For one shard; used by one thread at a time."""

    def __init__(
        self,
        lease: Lease,
        monitor: Monitor,
        operator: Operator,
        settings: ConfigServiceSettings,
        *,
        observer: FailoverObserver,
        log: LogWatch,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._lease = lease
        self._monitor = monitor
        self._operator = operator
        self._settings = settings
        self._observer = observer
        self._log = log
        self._is_stopping = is_stopping

    def run(self, row: Failover, shard: Shard) -> None:
        """Runs until the record is finished. Raises LeaseLost, InvariantBroken, and DatabaseError of the control
        database.

        After a failed step the shard is probed again: by then the monitor knows whether the instance answers.
        """
        with log_fields(shard=shard.name):
            self._run(row, shard)

    def _run(self, row: Failover, shard: Shard) -> None:
        if row.state == FailoverState.REQUESTED:
            self._log.read_now()  # on request only: an automatic failover must not wait, so uses the last reading
        run = _Run(row, shard, writes_stopped_at=self._find_last_answer(row))
        logger.warning("%s: %s, state %s: %s", shard.name, row.kind, row.state, row.reason)
        while FailoverState(row.state) not in FINISHED and not self._is_stopping():
            is_open = FailoverState(row.state) in _COMPARED
            find_lacking = self._log.find_lacking if is_open else None
            view = probe_shard(shard, self._monitor.get_probes(), self._operator, find_lacking=find_lacking)
            attempt = journal.read_attempt(row, now=timezone.now(), is_promotion_sent=run.is_promotion_sent)
            action = plan_next(attempt, view, settings=self._settings)
            leader_generation = self._lease.check()
            check_action(attempt, view, action)
            if not isinstance(action, actions.Wait):
                logger.info("%s: %s", shard.name, action)
            try:
                self._act(action, run, leader_generation)
            except (InstanceUnreachable, InstanceRefuses, ActionFailed) as error:
                logger.warning("%s: %s failed: %s", shard.name, type(action).__name__, error)
                journal.record_waiting(row, f"{type(action).__name__}: {error}", leader_generation=leader_generation)
                time.sleep(WAIT_SECONDS)
        if FailoverState(row.state) in FINISHED:
            self._report(run)

    def _act(self, action: actions.Action, run: "_Run", leader_generation: int) -> None:
        match action:
            case actions.Wait(why):
                journal.record_waiting(run.row, why, leader_generation=leader_generation)
                time.sleep(WAIT_SECONDS)
            case _ if isinstance(action, actions.Recorded):
                self._write_down(action, run, leader_generation)
            case actions.Stamp(name, term):
                self._operator.stamp(run.get(name), term=term)
            case _:
                self._change_servers(action, run)

    def _write_down(self, action: actions.Action, run: "_Run", leader_generation: int) -> None:
        row, now = run.row, timezone.now()
        match action:
            case actions.Start(target):
                journal.record_event(
                    row, FailoverEvent.START, leader_generation=leader_generation, target=target, started_at=now
                )
            case actions.Refuse(why):
                journal.record_event(row, FailoverEvent.REFUSE, leader_generation=leader_generation, message=why)
            case actions.Choose(candidate, term):
                run.is_promotion_sent = False
                changes = {"candidate": candidate, "term": term, "chosen_at": now}
                journal.record_event(row, FailoverEvent.CHOOSE, leader_generation=leader_generation, **changes)
            case actions.BeginPromotion():
                journal.record_event(row, FailoverEvent.PROMOTE, leader_generation=leader_generation)
            case actions.RecordPromoted():
                journal.record_event(
                    row, FailoverEvent.LEAVE_RECOVERY, leader_generation=leader_generation, promoted_at=now
                )
            case actions.RecordUndone(why):
                journal.record_event(row, FailoverEvent.UNDO, leader_generation=leader_generation, message=why)
            case actions.Publish(_, term):
                pause_ms = run.get_pause_ms(now=time.monotonic())
                epoch = journal.publish_roles(
                    row, term=term, leader_generation=leader_generation, write_pause_ms=pause_ms
                )
                logger.warning("%s: %s is primary, shard term %d, epoch %d", run.shard.name, row.candidate, term, epoch)

    def _change_servers(self, action: actions.Action, run: "_Run") -> None:
        match action:
            case actions.Hold(name):
                run.record_writes_stopped(now=time.monotonic())
                ended = self._operator.fence(run.get(name), drain_seconds=self._settings.drain_transactions_seconds)
                logger.info("%s takes no writes; ended %d transactions", name, ended)
            case actions.Detach(names):
                for name in names:
                    self._operator.detach(run.get(name))
            case actions.Prepare(name, names):
                self._operator.prepare(run.get(name), synchronous_standby_names=names)
            case actions.Promote(name):
                self._operator.promote(run.get(name))
                run.is_promotion_sent = True
            case actions.Repoint(names, to):
                for name in names:
                    self._operator.follow(run.get(name), run.get(to))
            case actions.Release(name):
                self._operator.release(run.get(name))

    def _find_last_answer(self, row: Failover) -> float | None:
        probe = self._monitor.get_probes().get(row.old_primary)
        return probe.answered_at if probe is not None and probe.failure_count else None

    def _report(self, run: "_Run") -> None:
        row = run.row
        seconds = (row.finished_at - row.requested_at).total_seconds() if row.finished_at else 0.0
        pause_ms = row.write_pause_ms
        logger.warning("%s: %s is %s: %s", run.shard.name, row.kind, row.state, row.message)
        self._observer.record_failover(
            kind=row.kind, outcome=row.state, seconds=seconds if pause_ms is None else pause_ms / 1000
        )


class _Run:
    """What one leader remembers of one attempt; a leader that continues it does not need this."""

    def __init__(self, row: Failover, shard: Shard, *, writes_stopped_at: float | None) -> None:
        self.row = row
        self.shard = shard
        self.is_promotion_sent = False
        self._writes_stopped_at = writes_stopped_at

    def get(self, name: str) -> Instance:
        return next(i for i in self.shard.instances if i.name == name)

    def record_writes_stopped(self, *, now: float) -> None:
        if self._writes_stopped_at is None:
            self._writes_stopped_at = now

    def get_pause_ms(self, *, now: float) -> int | None:
        return None if self._writes_stopped_at is None else int((now - self._writes_stopped_at) * 1000)

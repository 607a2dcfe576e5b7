"""Carries a change of primary out, step by step: look, plan, check, act, write down; until it is over or not ours.

Before each step the lease is asked for, so a leader that was replaced stops there. The one step that it may still take,
having been frozen right between the two, meets a newer term: see decision 0011.
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

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.02
_COMPARED = frozenset({FailoverState.REQUESTED, FailoverState.STARTED, FailoverState.CHOSEN})
"""While somebody may still be chosen, standbys are compared with what the event log holds."""


class FailoverObserver(Protocol):
    """Who counts what the config service does, for the metrics."""

    def note_failover(self, *, kind: str, outcome: str, seconds: float) -> None:
        """`seconds` from the last answer of the old primary, or from the request, to the end."""


class Executor:
    """Of one shard; used by one thread at a time."""

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
        """Until the record is finished. Raises LeaseLost, InvariantBroken, and DatabaseError of the control database.

        An instance that fails a step is looked at again: by then the monitor knows whether it answers.
        """
        if row.state == FailoverState.REQUESTED:
            self._log.read_now()  # somebody waits for it; a dead primary is replaced by what is known
        run = _Run(row, shard, writes_stopped_at=self._find_last_answer(row))
        logger.warning("%s: %s, state %s: %s", shard.name, row.kind, row.state, row.reason)
        while FailoverState(row.state) not in FINISHED and not self._is_stopping():
            is_open = FailoverState(row.state) in _COMPARED
            find_lacking = self._log.find_lacking if is_open else None
            view = probe_shard(shard, self._monitor.get_sightings(), self._operator, find_lacking=find_lacking)
            attempt = journal.read_attempt(row, now=timezone.now(), is_promotion_sent=run.is_promotion_sent)
            action = plan_next(attempt, view, settings=self._settings)
            generation = self._lease.check()
            check_action(attempt, view, action)
            if not isinstance(action, actions.Wait):
                logger.info("%s: %s", shard.name, action)
            try:
                self._act(action, run, generation)
            except (InstanceUnreachable, InstanceRefuses, ActionFailed) as error:
                logger.warning("%s: %s failed: %s", shard.name, type(action).__name__, error)
                journal.note_waiting(row, f"{type(action).__name__}: {error}", generation=generation)
                time.sleep(WAIT_SECONDS)
        if FailoverState(row.state) in FINISHED:
            self._report(run)

    def _act(self, action: actions.Action, run: "_Run", generation: int) -> None:
        match action:
            case actions.Wait(why):
                journal.note_waiting(run.row, why, generation=generation)
                time.sleep(WAIT_SECONDS)
            case _ if isinstance(action, actions.Recorded):
                self._write_down(action, run, generation)
            case actions.Stamp(name, term):
                self._operator.stamp(run.get(name), term=term)
            case _:
                self._change_servers(action, run)

    def _write_down(self, action: actions.Action, run: "_Run", generation: int) -> None:
        row, now = run.row, timezone.now()
        match action:
            case actions.Start(target):
                journal.note(row, FailoverEvent.START, generation=generation, target=target, started_at=now)
            case actions.Refuse(why):
                journal.note(row, FailoverEvent.REFUSE, generation=generation, message=why)
            case actions.Choose(candidate, term):
                run.is_promotion_sent = False
                changes = {"candidate": candidate, "term": term, "chosen_at": now}
                journal.note(row, FailoverEvent.CHOOSE, generation=generation, **changes)
            case actions.BeginPromotion():
                journal.note(row, FailoverEvent.PROMOTE, generation=generation)
            case actions.NotePromoted():
                journal.note(row, FailoverEvent.LEAVE_RECOVERY, generation=generation, promoted_at=now)
            case actions.NoteUndone(why):
                journal.note(row, FailoverEvent.UNDO, generation=generation, message=why)
            case actions.Publish(_, term):
                pause_ms = run.get_pause_ms(now=time.monotonic())
                epoch = journal.publish_roles(row, term=term, generation=generation, write_pause_ms=pause_ms)
                logger.warning("%s: %s is primary, term %d, epoch %d", run.shard.name, row.candidate, term, epoch)

    def _change_servers(self, action: actions.Action, run: "_Run") -> None:
        match action:
            case actions.Hold(name):
                run.note_writes_stopped(now=time.monotonic())
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
        sighting = self._monitor.get_sightings().get(row.old_primary)
        return sighting.answered_at if sighting is not None and sighting.failure_count else None

    def _report(self, run: "_Run") -> None:
        row = run.row
        seconds = (row.finished_at - row.requested_at).total_seconds() if row.finished_at else 0.0
        pause_ms = row.write_pause_ms
        logger.warning("%s: %s is %s: %s", run.shard.name, row.kind, row.state, row.message)
        self._observer.note_failover(
            kind=row.kind, outcome=row.state, seconds=seconds if pause_ms is None else pause_ms / 1000
        )


class _Run:
    """What one leader remembers of one attempt; another one that goes on with it does without."""

    def __init__(self, row: Failover, shard: Shard, *, writes_stopped_at: float | None) -> None:
        self.row = row
        self.shard = shard
        self.is_promotion_sent = False
        self._writes_stopped_at = writes_stopped_at

    def get(self, name: str) -> Instance:
        return next(i for i in self.shard.instances if i.name == name)

    def note_writes_stopped(self, *, now: float) -> None:
        if self._writes_stopped_at is None:
            self._writes_stopped_at = now

    def get_pause_ms(self, *, now: float) -> int | None:
        return None if self._writes_stopped_at is None else int((now - self._writes_stopped_at) * 1000)

"""Which sessions of a server have to go, and how. Pure: what was seen, the policy and what was tried before decide.

A session is never touched while it commits or waits for a synchronous standby: a cancel there ends the wait, and the
client is told of a durable commit that is none. Nor are sessions whose end would do more harm than their stay: those
of our own machinery, migrations, vacuums, and what the operator spares. Replication and base backups are not even
looked at, being no client sessions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shardproxy.query import QueryClass
from shardproxy.session_names import Purpose, find_purpose

FOREIGN = "foreign"
"""The class of sessions that did not come through a pool of ours: psql, BI tools, whatever has a password."""

_SYNC_WAIT = "SyncRep"


class SessionState(StrEnum):
    ACTIVE = "active"
    IDLE_IN_TRANSACTION = "idle in transaction"
    IDLE = "idle"


class KillReason(StrEnum):
    RUNNING = "running"
    """One statement for longer than its class may."""
    IDLE_IN_TRANSACTION = "idle_in_transaction"
    """A transaction open, nothing done in it for longer than its class may pause."""
    BLOCKING = "blocking"
    """A foreign transaction holds a lock that one of ours waits for, and has been open too long for that."""
    CONNECTIONS = "connections"
    """No connection is free, and a foreign session keeps one without using it."""


_REASONS = {
    SessionState.ACTIVE: KillReason.RUNNING,
    SessionState.IDLE_IN_TRANSACTION: KillReason.IDLE_IN_TRANSACTION,
    SessionState.IDLE: KillReason.CONNECTIONS,
}


class KillAction(StrEnum):
    CANCEL = "cancel"
    """Ends the statement; the session goes on."""
    TERMINATE = "terminate"
    """Ends the session."""


@dataclass(frozen=True, slots=True)
class StatementIdentity:
    """One statement, or one pause, of one session. A pid is used again; these three together are not.

    `since` is when the statement began, or the pause did, by the server's clock.
    """

    pid: int
    backend_start: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A client session as the server shows it. Instants are by its clock."""

    identity: StatementIdentity
    user: str
    application: str
    state: SessionState
    transaction_start: datetime | None
    wait_event: str | None = None
    is_committing: bool = False
    is_vacuuming: bool = False
    blocked_by: tuple[int, ...] = ()
    """Pids that hold what this one waits for."""


@dataclass(frozen=True, slots=True)
class KillAttempt:
    """What was last done to a statement, and when."""

    action: KillAction
    at: datetime


@dataclass(frozen=True, slots=True)
class KillPolicy:
    """Budgets in seconds. `users` are the roles our own sessions have; a name of ours under another role is foreign.

    `slack_seconds` come on top of a class's budget: the server's own `statement_timeout` is to be first.
    """

    application: str
    users: frozenset[str]
    query_seconds: Mapping[QueryClass, float]
    slack_seconds: float
    foreign_query_seconds: float
    foreign_idle_seconds: float
    foreign_blocking_seconds: float
    grace_seconds: float
    spared_applications: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PlannedKill:
    """`age_seconds` is what went past `budget_seconds`: of the statement, of the pause, or of the transaction."""

    session: Session
    session_class: str
    reason: KillReason
    action: KillAction
    age_seconds: float
    budget_seconds: float


def plan_kills(
    sessions: Iterable[Session],
    policy: KillPolicy,
    *,
    now: datetime,
    attempts: Mapping[StatementIdentity, KillAttempt],
    is_full: bool = False,
) -> list[PlannedKill]:
    """At most one kill a session. The same statement is cancelled once, and its session ended after the grace.

    `is_full`: the server has no connection left but those that it keeps for some roles.
    """
    seen = list(sessions)
    classes = {s.identity.pid: classify(s, policy) for s in seen}
    # Those that wait for a lock of a foreign session, and are ours.
    blockers = {pid for s in seen if classes[s.identity.pid] != FOREIGN for pid in s.blocked_by}
    kills = []
    for session in seen:
        session_class = classes[session.identity.pid]
        if session_class is None or _is_untouchable(session, policy):
            continue
        if session.state is SessionState.IDLE and not (is_full and session_class == FOREIGN):
            continue
        found = _find_excess(session, session_class, policy, now=now, blocks_ours=session.identity.pid in blockers)
        action = _choose_action(session, attempts.get(session.identity), policy, now=now)
        if found is not None and action is not None:
            reason, age_seconds, budget_seconds = found
            kills.append(PlannedKill(session, str(session_class), reason, action, age_seconds, budget_seconds))
    return kills


def classify(session: Session, policy: KillPolicy) -> str | None:
    """The class whose budgets hold for it; None for our own machinery, which has none."""
    if session.user not in policy.users:
        return FOREIGN
    purpose = find_purpose(session.application, application=policy.application)
    if isinstance(purpose, Purpose):
        return None
    if purpose is None and session.application != policy.application:
        return FOREIGN
    # A session of a pool that has not been told its class yet has nothing to run for long.
    return purpose or QueryClass.MAINTENANCE


def _is_untouchable(session: Session, policy: KillPolicy) -> bool:
    return (
        session.wait_event == _SYNC_WAIT
        or session.is_committing
        or session.is_vacuuming
        or session.application in policy.spared_applications
    )


def _find_excess(
    session: Session, session_class: str, policy: KillPolicy, *, now: datetime, blocks_ours: bool
) -> tuple[KillReason, float, float] | None:
    """Why it has to go, how old that is, and what it was allowed."""
    age_seconds = (now - session.identity.since).total_seconds()
    reason = _REASONS[session.state]
    budget_seconds = policy.foreign_query_seconds if reason is KillReason.RUNNING else policy.foreign_idle_seconds
    if session_class != FOREIGN:
        budget_seconds = policy.query_seconds[QueryClass(session_class)] + policy.slack_seconds
    if age_seconds >= budget_seconds:
        return reason, age_seconds, budget_seconds
    if session_class == FOREIGN and blocks_ours and session.transaction_start is not None:
        open_seconds = (now - session.transaction_start).total_seconds()
        if open_seconds >= policy.foreign_blocking_seconds:
            return KillReason.BLOCKING, open_seconds, policy.foreign_blocking_seconds
    return None


def _choose_action(
    session: Session, attempt: KillAttempt | None, policy: KillPolicy, *, now: datetime
) -> KillAction | None:
    """A pause has no statement to cancel. A session that ignores its end is told again after each grace."""
    if attempt is not None and now < attempt.at + timedelta(seconds=policy.grace_seconds):
        return None
    if attempt is None and session.state is SessionState.ACTIVE:
        return KillAction.CANCEL
    return KillAction.TERMINATE

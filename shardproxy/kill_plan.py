"""Plans which sessions of a server to cancel or terminate, from the sessions, the policy and earlier attempts. Pure.

A session is never ended while it commits or waits for a synchronous standby: a cancel would end that wait, and the
client would take the commit for durable. Nor are sessions ended that would cost more than they hold up: sessions of
our own processes, migrations, vacuums, and applications that the operator spares. Replication and base backups are not
client sessions and are not read at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shardproxy.connection import Purpose, find_purpose
from shardproxy.query import QueryClass
from shardproxy.settings import QueryBudgets, ReaperSettings

FOREIGN = "foreign"
"""The class of sessions that are not of our pools: psql, BI tools, any other client with a password."""

_SYNC_WAIT = "SyncRep"


class SessionState(StrEnum):
    ACTIVE = "active"
    IDLE_IN_TRANSACTION = "idle in transaction"
    IDLE = "idle"


class KillReason(StrEnum):
    RUNNING = "running"
    """A statement runs longer than the budget of its class."""
    IDLE_IN_TRANSACTION = "idle_in_transaction"
    """A transaction is idle longer than its class may pause."""
    BLOCKING = "blocking"
    """A foreign transaction holds a lock that one of our sessions waits for, and has been open too long."""
    CONNECTIONS = "connections"
    """The server has no free connection, and a foreign session is idle."""


_REASONS = {
    SessionState.ACTIVE: KillReason.RUNNING,
    SessionState.IDLE_IN_TRANSACTION: KillReason.IDLE_IN_TRANSACTION,
    SessionState.IDLE: KillReason.CONNECTIONS,
}


class KillAction(StrEnum):
    CANCEL = "cancel"
    """Ends the statement; the session stays open."""
    TERMINATE = "terminate"
    """Ends the session."""


@dataclass(frozen=True, slots=True)
class StatementIdentity:
    """One statement, or one idle period, of one session. Pids are reused; these three fields together are not.

    `since`: start of the statement or of the idle period, by the server's clock.
    """

    pid: int
    backend_start: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A client session as the server reports it. Instants are by the server's clock."""

    identity: StatementIdentity
    user: str
    application: str
    state: SessionState
    transaction_start: datetime | None
    wait_event: str | None = None
    is_committing: bool = False
    is_vacuuming: bool = False
    blocked_by: tuple[int, ...] = ()
    """Pids of the sessions that hold the lock which this session waits for."""


@dataclass(frozen=True, slots=True)
class KillAttempt:
    """The last action against a statement, and its instant."""

    action: KillAction
    at: datetime


@dataclass(frozen=True, slots=True)
class KillPolicy:
    """`users`: the roles of our sessions; a session of another role is foreign, whatever its name."""

    application: str
    users: frozenset[str]
    query: QueryBudgets
    reaper: ReaperSettings


@dataclass(frozen=True, slots=True)
class PlannedKill:
    """`age_seconds`: the age of the statement, idle period or transaction that exceeds `budget_seconds`."""

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
    """At most one kill for each session. A statement is cancelled once; after the grace its session is terminated.

    `is_full`: the server has no free connection except those reserved for some roles.
    """
    seen = list(sessions)
    classes = {s.identity.pid: classify(s, policy) for s in seen}
    # Sessions that hold a lock which one of our sessions waits for.
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
    """The class whose budgets apply to a session; None for sessions of our own processes, which have none."""
    if session.user not in policy.users:
        return FOREIGN
    purpose = find_purpose(session.application, application=policy.application)
    if isinstance(purpose, Purpose):
        return None
    if purpose is None and session.application != policy.application:
        return FOREIGN
    # A session of our pool before its first query: nothing of it runs for long.
    return purpose or QueryClass.MAINTENANCE


def _is_untouchable(session: Session, policy: KillPolicy) -> bool:
    return (
        session.wait_event == _SYNC_WAIT
        or session.is_committing
        or session.is_vacuuming
        or session.application in policy.reaper.spared_applications
    )


def _find_excess(
    session: Session, session_class: str, policy: KillPolicy, *, now: datetime, blocks_ours: bool
) -> tuple[KillReason, float, float] | None:
    """The reason to end a session, with age and budget in seconds; None if it is within its budget."""
    age_seconds = (now - session.identity.since).total_seconds()
    reason = _REASONS[session.state]
    reaper = policy.reaper
    budget_seconds = reaper.foreign_query_seconds if reason is KillReason.RUNNING else reaper.foreign_idle_seconds
    if session_class != FOREIGN:
        budget_seconds = policy.query.get_seconds(QueryClass(session_class)) + reaper.slack_seconds
    if age_seconds >= budget_seconds:
        return reason, age_seconds, budget_seconds
    if session_class == FOREIGN and blocks_ours and session.transaction_start is not None:
        open_seconds = (now - session.transaction_start).total_seconds()
        if open_seconds >= reaper.foreign_blocking_seconds:
            return KillReason.BLOCKING, open_seconds, reaper.foreign_blocking_seconds
    return None


def _choose_action(
    session: Session, attempt: KillAttempt | None, policy: KillPolicy, *, now: datetime
) -> KillAction | None:
    """An idle session has no statement to cancel. Termination is repeated after each grace until the session ends."""
    if attempt is not None and now < attempt.at + timedelta(seconds=policy.reaper.grace_seconds):
        return None
    if attempt is None and session.state is SessionState.ACTIVE:
        return KillAction.CANCEL
    return KillAction.TERMINATE

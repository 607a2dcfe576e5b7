"""Session reaper: lists the sessions of one instance and ends those in the kill plan, over a dedicated connection.

A session may have moved on since it was listed, so the statement that ends it checks again that it is the same session
running the same statement. A race of microseconds between that check and the signal remains; it cannot be closed from
outside the server.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from configservice.topology.model import Instance
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import BadStatement
from shardproxy.kill_plan import (
    KillAction,
    KillAttempt,
    KillPolicy,
    PlannedKill,
    Session,
    SessionState,
    StatementIdentity,
    plan_kills,
)
from shardproxy.redaction import redact_statement

logger = logging.getLogger(__name__)

_NOT_PERMITTED = "42501"

# COMMIT in all its forms, with or without leading comments. A cancel that arrives during COMMIT takes effect at the
# next interrupt point, which is the wait for a synchronous standby.
_IS_COMMITTING = r"a.query ~* '^(\s|--[^\n]*\n|/\*.*?\*/)*(commit|end|prepare\s+transaction)\M'"

# The text of a query is read only when its session is ended. `pg_blocking_pids` is expensive: only for sessions that
# wait for a lock. Idle sessions are listed only while the server has no free connection.
_LIST_SESSIONS = f"""
WITH room AS MATERIALIZED (
    SELECT count(*) >= current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) AS is_full
    FROM pg_stat_activity WHERE backend_type = 'client backend'
)
SELECT clock_timestamp() AS now, room.is_full, a.pid, a.backend_start, coalesce(a.usename, '') AS "user",
    a.application_name AS application, a.state, a.query_start, a.state_change, a.xact_start, a.wait_event,
    coalesce({_IS_COMMITTING}, false) AS is_committing,
    a.pid IN (SELECT p.pid FROM pg_stat_progress_vacuum AS p) AS is_vacuuming,
    CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{{}}' END AS blocked_by
FROM pg_stat_activity AS a CROSS JOIN room
WHERE a.backend_type = 'client backend' AND a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND (a.state IN ('active', 'fastpath function call', 'idle in transaction', 'idle in transaction (aborted)')
        OR a.state = 'idle' AND room.is_full)
"""  # noqa: S608 - every part is ours
_END_SESSION = f"""
SELECT clock_timestamp() AS now, left(a.query, 4000) AS query, a.query_id, host(a.client_addr) AS client_address,
    CASE WHEN %(terminate)s THEN pg_terminate_backend(a.pid) ELSE pg_cancel_backend(a.pid) END AS done
FROM pg_stat_activity AS a
WHERE a.pid = %(pid)s AND a.backend_start = %(backend_start)s AND a.wait_event IS DISTINCT FROM 'SyncRep'
    AND CASE WHEN %(is_active)s
        THEN a.state IN ('active', 'fastpath function call') AND a.query_start = %(since)s AND NOT {_IS_COMMITTING}
        ELSE a.state LIKE 'idle%%' AND a.state_change = %(since)s
    END
"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class TerminatedSession:
    """One session that was cancelled or terminated. `statement` holds no values. `fingerprint` is the same for
    statements that differ only in values: PostgreSQL's query id, or a digest of `statement` where there is none."""

    instance: str
    at: datetime
    action: str
    reason: str
    session_class: str
    age_seconds: float
    budget_seconds: float
    pid: int
    backend_start: datetime
    since: datetime
    user: str
    application: str
    client_address: str | None
    fingerprint: str
    statement: str


class SessionReaper:
    """Used by one thread at a time. Calls `on_kill` after each kill.

    Invariant: `_attempts` and `_refused` hold only statements of the last list of sessions.
    """

    def __init__(
        self,
        instance: Instance,
        connection: DedicatedConnection,
        policy: KillPolicy,
        *,
        on_kill: Callable[[TerminatedSession], None],
        on_refusal: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._connection = connection
        self._policy = policy
        self._on_kill = on_kill
        self._on_refusal = on_refusal
        self._attempts: dict[StatementIdentity, KillAttempt] = {}
        self._refused: set[StatementIdentity] = set()

    def run_once(self, *, timeout_seconds: float) -> None:
        """Lists sessions and ends those of the plan; each statement is bounded by `timeout_seconds`.

        Raises ShardProxyError."""
        rows = self._connection.fetch(_LIST_SESSIONS, timeout_seconds=timeout_seconds)
        sessions = [_read_session(row) for row in rows]
        living = {session.identity for session in sessions}
        self._attempts = {identity: a for identity, a in self._attempts.items() if identity in living}
        self._refused &= living
        if rows:
            now, is_full = rows[0]["now"], rows[0]["is_full"]
            for planned in plan_kills(sessions, self._policy, now=now, attempts=self._attempts, is_full=is_full):
                if planned.session.identity not in self._refused:
                    self._apply(planned, timeout_seconds=timeout_seconds)

    def _apply(self, planned: PlannedKill, *, timeout_seconds: float) -> None:
        """Does nothing if the session runs another statement by now."""
        identity = planned.session.identity
        params = {
            "terminate": planned.action is KillAction.TERMINATE,
            "is_active": planned.session.state is SessionState.ACTIVE,
            "pid": identity.pid,
            "backend_start": identity.backend_start,
            "since": identity.since,
        }
        try:
            rows = self._connection.fetch(_END_SESSION, params, timeout_seconds=timeout_seconds)
        except BadStatement as error:
            if error.sqlstate != _NOT_PERMITTED:
                raise
            self._refused.add(identity)
            self._on_refusal()
            logger.error(
                "%s: no permission to end a session of %s: %s", self._instance.name, planned.session.user, error
            )
            return
        if rows and rows[0]["done"]:
            self._attempts[identity] = KillAttempt(planned.action, rows[0]["now"])
            self._on_kill(self._describe(planned, rows[0]))

    def _describe(self, planned: PlannedKill, row: Mapping[str, Any]) -> TerminatedSession:
        session, statement = planned.session, redact_statement(row["query"])
        kill = TerminatedSession(
            instance=self._instance.name,
            at=row["now"],
            action=planned.action.value,
            reason=planned.reason.value,
            session_class=planned.session_class,
            age_seconds=planned.age_seconds,
            budget_seconds=planned.budget_seconds,
            pid=session.identity.pid,
            backend_start=session.identity.backend_start,
            since=session.identity.since,
            user=session.user,
            application=session.application,
            client_address=row["client_address"],
            fingerprint=str(row["query_id"]) if row["query_id"] is not None else _digest(statement),
            statement=statement,
        )
        logger.warning(
            "%s: %s pid %d (%s, %s of %s) after %.1f s of %.1f s: %s",
            kill.instance,
            kill.action,
            kill.pid,
            kill.reason,
            kill.session_class,
            kill.user,
            kill.age_seconds,
            kill.budget_seconds,
            kill.statement,
        )
        return kill


_STATES = {
    "active": SessionState.ACTIVE,
    "fastpath function call": SessionState.ACTIVE,
    "idle in transaction": SessionState.IDLE_IN_TRANSACTION,
    "idle in transaction (aborted)": SessionState.IDLE_IN_TRANSACTION,
    "idle": SessionState.IDLE,
}


def _read_session(row: Mapping[str, Any]) -> Session:
    state = _STATES[row["state"]]
    return Session(
        identity=StatementIdentity(
            row["pid"], row["backend_start"], row["query_start" if state is SessionState.ACTIVE else "state_change"]
        ),
        user=row["user"],
        application=row["application"],
        state=state,
        transaction_start=row["xact_start"],
        wait_event=row["wait_event"],
        is_committing=row["is_committing"] and state is SessionState.ACTIVE,
        is_vacuuming=row["is_vacuuming"],
        blocked_by=tuple(row["blocked_by"]),
    )


def _digest(statement: str) -> str:
    return blake2b(statement.encode(), digest_size=8).hexdigest()

"""Leader election of config services: a lease in the control database, bound to the connection that holds it.

Three mechanisms, each for a failure that the others do not cover:
- a session-level advisory lock: released when the leader or its connection dies, so another process leads at once;
- `renewed_at`, by the database's clock: a frozen leader keeps its connection, so a candidate ends the sessions of a
  leader that has not renewed the lease for `lease_seconds`;
- the leader generation, which grows with every leader: each change of control tables reads it under a lock in the same
  transaction (`fence_change`), so that a former leader that wakes up changes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import psycopg

from configservice.errors import LeaseLost
from configservice.models import Leadership

logger = logging.getLogger(__name__)

LOCK_KEY = 0x76_63_6C_65_61_64  # "vclead"

_TRY_LOCK = "SELECT pg_try_advisory_lock(%(key)s) AS locked"
_TAKE = """
INSERT INTO configservice_leadership (id, generation, holder, taken_at, renewed_at)
VALUES (1, 1, %(holder)s, now(), now())
ON CONFLICT (id) DO UPDATE SET generation = configservice_leadership.generation + 1, holder = excluded.holder,
    taken_at = now(), renewed_at = now()
RETURNING generation
"""
_RENEW = """
UPDATE configservice_leadership SET renewed_at = clock_timestamp()
WHERE id = 1 AND generation = %(generation)s RETURNING generation
"""
# Both sessions of the holder (for the lease, for its changes) carry its name.
_END_SILENT_LEADER = """
SELECT leadership.holder, count(pg_terminate_backend(session.pid)) AS ended
FROM configservice_leadership AS leadership
JOIN pg_stat_activity AS session ON session.application_name = leadership.holder
WHERE leadership.id = 1 AND leadership.holder <> %(holder)s
    AND leadership.renewed_at < clock_timestamp() - make_interval(secs => %(lease_seconds)s)
GROUP BY leadership.holder
"""


class BoundedConnection(Protocol):
    """A psycopg connection in autocommit mode, rows as dicts, that gives up at `deadline_at` (monotonic clock)."""

    deadline_at: float | None

    def execute(self, query: Any, params: Any = ...) -> Any: ...

    def close(self) -> None: ...


OpenConnection = Callable[[str], BoundedConnection]
"""Opens a connection to the control database with this session name, within a bounded time."""


class Lease:
    """Thread-safe. Invariant: while `leader_generation` is set, this process held the lock at its last statement."""

    def __init__(self, open_connection: OpenConnection, *, holder: str, lease_seconds: float, call_seconds: float):
        self.holder = holder
        self.leader_generation: int | None = None
        self._open_connection = open_connection
        self._lease_seconds = lease_seconds
        self._call_seconds = call_seconds
        self._connection: BoundedConnection | None = None
        self._lost_because = "this config service does not lead"
        self._lock = threading.Lock()  # one statement at a time on the connection; bounded by `call_seconds`

    def hold(self) -> bool:
        """Takes or renews the lease; False if another process has it or the control database does not answer."""
        with self._lock:
            try:
                if self.leader_generation is None:
                    self._take()
                else:
                    self._renew(self.leader_generation)
            except psycopg.Error as error:
                self._lose(f"the control database does not answer: {_get_first_line(error)}")
        return self.leader_generation is not None

    def check(self) -> int:
        """The leader generation; renews the lease. Call before each step that changes a server. Raises LeaseLost."""
        with self._lock:
            leader_generation = self.leader_generation
            if leader_generation is None:
                raise LeaseLost(self._lost_because)
            try:
                self._renew(leader_generation)
            except psycopg.Error as error:
                self._lose(f"the control database does not answer: {_get_first_line(error)}")
            if self.leader_generation != leader_generation:
                raise LeaseLost(self._lost_because)
            return leader_generation

    def release(self) -> None:
        """Closes the session, which releases the lock: another process leads within a tick."""
        with self._lock:
            self._lose("stopping")

    def _take(self) -> None:
        row = self._get_row(_TRY_LOCK, key=LOCK_KEY)
        if not row["locked"]:
            silent = self._find_row(_END_SILENT_LEADER, holder=self.holder, lease_seconds=self._lease_seconds)
            if silent is not None:
                logger.warning("ended %d sessions of the silent leader %s", silent["ended"], silent["holder"])
            return
        self.leader_generation = self._get_row(_TAKE, holder=self.holder)["generation"]
        logger.info("%s leads, leader generation %d", self.holder, self.leader_generation)

    def _renew(self, leader_generation: int) -> None:
        if self._find_row(_RENEW, generation=leader_generation) is None:
            self._lose("another config service has taken over")

    def _get_row(self, statement: str, **params: Any) -> dict[str, Any]:
        row = self._find_row(statement, **params)
        if row is None:
            raise psycopg.DataError("no row")
        return row

    def _find_row(self, statement: str, **params: Any) -> dict[str, Any] | None:
        if self._connection is None:
            self._connection = self._open_connection(self.holder)
        self._connection.deadline_at = time.monotonic() + self._call_seconds
        row: dict[str, Any] | None = self._connection.execute(statement, params).fetchone()
        return row

    def _lose(self, why: str) -> None:
        self._lost_because = why
        if self.leader_generation is not None:
            logger.warning("%s no longer leads: %s", self.holder, why)
        self.leader_generation = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def fence_change(leader_generation: int) -> None:
    """Call inside a transaction on the control tables. Raises LeaseLost unless `leader_generation` still leads.

    The row stays locked until the end of the transaction, so a new leader waits for it or ends the session.
    """
    row = Leadership.objects.select_for_update(no_key=True).filter(pk=Leadership.ONLY_ID).first()
    if row is None or row.generation != leader_generation:
        raise LeaseLost(f"leader generation {leader_generation} no longer leads")


def _get_first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

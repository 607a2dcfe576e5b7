"""Who leads, of the config services that run: a lease in the control database, lost with the connection that holds it.

Three things, each for a failure the others do not cover:
- a session-level advisory lock: gone in the moment the leader or its connection dies, so another leads at once;
- `renewed_at`, by the database's clock: a leader that is frozen keeps its connection, so one that has not renewed for
  `lease_seconds` has its sessions ended by whoever wants to lead;
- `generation`, which grows with every leader: a change of control tables reads it, locked, in its own transaction
  (`fence_change`), so that a former leader that wakes up changes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import psycopg

from configservice.errors import LeaseLost
from configservice.failover.records import Leadership

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
# Both sessions of the holder, the lease's and the one of its changes, carry its name.
_PUT_OUT = """
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

    def execute(self, query: Any, params: Any = ..., *, prepare: bool | None = ...) -> Any: ...

    def close(self) -> None: ...


OpenConnection = Callable[[str], BoundedConnection]
"""A new connection to the control database under this session name, made within seconds or not at all."""


class Lease:
    """Thread-safe. Invariant: while `generation` is set, our session held the lock when it was last asked."""

    def __init__(self, open_connection: OpenConnection, *, holder: str, lease_seconds: float, call_seconds: float):
        self.holder = holder
        self.generation: int | None = None
        self._open_connection = open_connection
        self._lease_seconds = lease_seconds
        self._call_seconds = call_seconds
        self._connection: BoundedConnection | None = None
        self._lost_because = "this config service does not lead"
        self._lock = threading.Lock()  # one statement at a time on the connection

    def hold(self) -> bool:
        """Takes the lease or renews it; False while somebody else has it or the control database is away. Bounded."""
        with self._lock:
            try:
                if self.generation is None:
                    self._take()
                else:
                    self._renew(self.generation)
            except psycopg.Error as error:
                self._lose(f"the control database does not answer: {_get_first_line(error)}")
        return self.generation is not None

    def check(self) -> int:
        """The generation, if we still lead: to be asked before each step that changes a server. Raises LeaseLost."""
        with self._lock:
            generation = self.generation
            if generation is None:
                raise LeaseLost(self._lost_because)
            try:
                self._renew(generation)
            except psycopg.Error as error:
                self._lose(f"the control database does not answer: {_get_first_line(error)}")
            if self.generation != generation:
                raise LeaseLost(self._lost_because)
            return generation

    def release(self) -> None:
        """Closing the session gives up the lock: another leads within a tick."""
        with self._lock:
            self._lose("stopping")

    def _take(self) -> None:
        row = self._ask(_TRY_LOCK, key=LOCK_KEY)
        if not row["locked"]:
            put_out = self._find(_PUT_OUT, holder=self.holder, lease_seconds=self._lease_seconds)
            if put_out is not None:
                logger.warning("ended %d sessions of %s, which has gone silent", put_out["ended"], put_out["holder"])
            return
        self.generation = self._ask(_TAKE, holder=self.holder)["generation"]
        logger.info("%s leads, generation %d", self.holder, self.generation)

    def _renew(self, generation: int) -> None:
        if self._find(_RENEW, generation=generation) is None:
            self._lose("another config service has taken over")

    def _ask(self, statement: str, **params: Any) -> dict[str, Any]:
        row = self._find(statement, **params)
        if row is None:
            raise psycopg.DataError("no row")
        return row

    def _find(self, statement: str, **params: Any) -> dict[str, Any] | None:
        if self._connection is None:
            self._connection = self._open_connection(self.holder)
        self._connection.deadline_at = time.monotonic() + self._call_seconds
        row: dict[str, Any] | None = self._connection.execute(statement, params, prepare=False).fetchone()
        return row

    def _lose(self, why: str) -> None:
        self._lost_because = why
        if self.generation is not None:
            logger.warning("%s no longer leads: %s", self.holder, why)
        self.generation = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def fence_change(generation: int) -> None:
    """Inside a transaction on the control tables: raises LeaseLost unless `generation` still leads.

    The row stays locked until the end of the transaction, so a new leader waits for it, or ends its session.
    """
    row = Leadership.objects.select_for_update(no_key=True).filter(pk=Leadership.ONLY_ID).first()
    if row is None or row.generation != generation:
        raise LeaseLost(f"generation {generation} leads no more")


def _get_first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""A pool that tells waiting callers at once when the server refuses, and says whether it was slow or full.

psycopg_pool keeps callers waiting for their whole timeout while it retries in the background, and raises the same
`PoolTimeout` for a dead server as for a busy one. Here no attempt is repeated in the background: the next caller makes
the next attempt, so a server that comes back is used again at once and one that is gone costs nobody a wait.

Leans on psycopg_pool's `_lock`, `_waiting`, `_nconns` and `_connect` (the version is pinned);
`tests/integration/shardproxy/test_instance_proxy.py` breaks when they change.
"""

import time

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from configservice.topology.model import Instance
from shardproxy.admission import Admission, Shed
from shardproxy.connection import DeadlineConnection
from shardproxy.conninfo import build_connection_parameters
from shardproxy.errors import InstanceMisconfigured, InstanceUnavailable, PoolExhausted
from shardproxy.query import QueryClass
from shardproxy.settings import PoolSettings

WORKER_THREADS = 2


class InstancePool:
    """Invariant: at most `max_connections` are open, and as many callers are admitted: whoever is finds one idle, or
    waits for no more than a connection attempt."""

    def __init__(self, instance: Instance, settings: PoolSettings) -> None:
        self._instance = instance
        self._settings = settings
        self._pool = _FailFastPool(instance, settings)
        self._admission = Admission(settings.build_admission_policy())

    @property
    def in_flight(self) -> int:
        """Callers that have a connection or wait for one."""
        return self._admission.in_flight

    def take(self, query_class: QueryClass, *, deadline_at: float) -> DeadlineConnection:
        """A living connection, to be given back with `give_back`. Raises InstanceUnavailable or PoolExhausted."""
        try:
            self._admission.enter(query_class, deadline_at=deadline_at)
        except Shed as error:
            raise PoolExhausted(str(error), instance=self._instance.name) from error
        try:
            return self._find_living(deadline_at)
        except BaseException:
            self._admission.leave(query_class)
            raise

    def give_back(self, connection: DeadlineConnection, query_class: QueryClass) -> None:
        connection.deadline_at = None
        try:
            self._pool.putconn(connection)
        finally:
            self._admission.leave(query_class)

    def _find_living(self, deadline_at: float) -> DeadlineConnection:
        # Every idle connection may have been cut by a restart; each is thrown away without a wait.
        for _ in range(self._settings.max_connections + 1):
            connection = self._get(deadline_at)
            if not connection.has_hung_up():
                connection.deadline_at = deadline_at
                return connection
            connection.close()
            self._pool.putconn(connection)
        raise InstanceUnavailable("hangs up on every connection", instance=self._instance.name)

    def _get(self, deadline_at: float) -> DeadlineConnection:
        name = self._instance.name
        wait_seconds = min(self._settings.wait_seconds, deadline_at - time.monotonic())
        try:
            self._pool.open()
            return self._pool.getconn(timeout=wait_seconds)
        except PoolTimeout as error:
            if self._admission.in_use > 1:  # attempts to connect may be slow because the others keep the server busy
                raise PoolExhausted("no connection was made in time", instance=name) from error
            raise InstanceUnavailable("does not answer connection attempts", instance=name) from error
        except psycopg.OperationalError as error:  # closed for good, which `open` and `getconn` say in two ways
            raise InstanceUnavailable("is no longer part of the topology", instance=name) from error

    def get_stats(self) -> dict[str, int]:
        """psycopg_pool's counters and gauges by their own names; those who wait do so before they reach it."""
        return {**self._pool.get_stats(), "requests_waiting": self._admission.waiting}

    def close(self) -> None:
        """Idle connections close now, those in use when they are given back. Does not wait."""
        self._pool.close(timeout=0)


class _FailFastPool(ConnectionPool[DeadlineConnection]):
    def __init__(self, instance: Instance, settings: PoolSettings) -> None:
        self._instance_name = instance.name
        self._last_failure: Exception | None = None
        super().__init__(
            kwargs=lambda: {
                "autocommit": True,
                "row_factory": dict_row,
                **build_connection_parameters(instance, settings),
            },
            connection_class=DeadlineConnection,
            min_size=0,
            max_size=settings.max_connections,
            timeout=settings.wait_seconds,
            max_lifetime=settings.max_lifetime_seconds,
            max_idle=settings.max_idle_seconds,
            reconnect_timeout=0.0,
            num_workers=WORKER_THREADS,
            name=f"{settings.application_name}-{instance.name}",
            open=False,
        )

    def _connect(self, timeout: float | None = None) -> DeadlineConnection:
        try:
            return super()._connect(timeout)
        except (psycopg.Error, InstanceMisconfigured) as error:
            self._last_failure = error
            raise

    def reconnect_failed(self) -> None:
        """Called by the pool when it has given up a connection: nobody may go on waiting for one that never comes.

        While other connections live, waiting for one of them is right. The lock keeps `_waiting` whole.
        """
        with self._lock:
            if self._nconns > 0:
                return
            waiting = list(self._waiting)
            self._waiting.clear()
        reason = str(self._last_failure).strip().splitlines()[0] if self._last_failure else "connection refused"
        for client in waiting:
            client.fail(InstanceUnavailable(reason, instance=self._instance_name))

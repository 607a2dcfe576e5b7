"""Connection pool that fails fast when the server refuses connections, and tells a dead server from a busy one.

psycopg_pool lets callers wait for their whole timeout while it retries in the background, and raises the same
`PoolTimeout` for a dead server as for a busy one. This pool does not retry in the background: the next caller makes
the next attempt. So a server that comes back is used at once, and a dead one makes no caller wait.

Uses psycopg_pool's private `_lock`, `_waiting`, `_nconns` and `_connect` (the version is pinned);
`tests/integration/shardproxy/test_instance_proxy.py` fails when they change.
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
    """Invariant: at most `max_connections` connections are open, and no more callers are admitted.

    So an admitted caller finds an idle connection or waits for one connection attempt at most.
    """

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
        """An open connection, to be returned with `give_back`. Raises InstanceUnavailable or PoolExhausted."""
        try:
            self._admission.enter(query_class, deadline_at=deadline_at)
        except Shed as error:
            raise PoolExhausted(str(error), instance=self._instance.name) from error
        try:
            return self._take_usable(deadline_at)
        except BaseException:
            self._admission.leave(query_class)
            raise

    def give_back(self, connection: DeadlineConnection, query_class: QueryClass) -> None:
        connection.deadline_at = None
        try:
            self._pool.putconn(connection)
        finally:
            self._admission.leave(query_class)

    def _take_usable(self, deadline_at: float) -> DeadlineConnection:
        # A restart of the server may have closed every idle connection; each is discarded without a wait.
        for _ in range(self._settings.max_connections + 1):
            connection = self._get(deadline_at)
            if not connection.has_hung_up():
                connection.deadline_at = deadline_at
                return connection
            connection.close()
            self._pool.putconn(connection)
        raise InstanceUnavailable("closes every connection at once", instance=self._instance.name)

    def _get(self, deadline_at: float) -> DeadlineConnection:
        name = self._instance.name
        wait_seconds = min(self._settings.wait_seconds, deadline_at - time.monotonic())
        try:
            self._pool.open()
            return self._pool.getconn(timeout=wait_seconds)
        except PoolTimeout as error:
            if self._admission.in_use > 1:  # connecting may be slow because our other queries keep the server busy
                raise PoolExhausted("no connection could be opened in time", instance=name) from error
            raise InstanceUnavailable("does not answer connection attempts", instance=name) from error
        except psycopg.OperationalError as error:  # this pool is closed; `open` and `getconn` raise different errors
            raise InstanceUnavailable("is no longer part of the topology", instance=name) from error

    def get_stats(self) -> dict[str, int]:
        """psycopg_pool's counters and gauges by their own names; `requests_waiting` counts the admission queue."""
        return {**self._pool.get_stats(), "requests_waiting": self._admission.waiting}

    def close(self) -> None:
        """Closes idle connections now, and connections in use when they are returned. Does not wait."""
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
        """Called by psycopg_pool when it has given up a connection: fails the callers that wait for one.

        While other connections are open, callers go on waiting for one of those. The lock guards `_waiting`.
        """
        with self._lock:
            if self._nconns > 0:
                return
            waiting = list(self._waiting)
            self._waiting.clear()
        reason = str(self._last_failure).strip().splitlines()[0] if self._last_failure else "connection refused"
        for client in waiting:
            client.fail(InstanceUnavailable(reason, instance=self._instance_name))

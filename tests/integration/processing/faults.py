"""A cluster proxy whose transactions die at will: before any statement, before COMMIT, or after it, unheard of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy


class Killed(Exception):
    """The process that raises it is dead: only the test may catch it."""


def _raise(sqlstate: str) -> str:
    return f"DO $$BEGIN RAISE 'injected' USING ERRCODE = '{sqlstate}'; END$$"


SERVER_FAULTS = {
    "deadlock": _raise("40P01"),
    "lock timeout": _raise("55P03"),
    "cancel": _raise("57014"),
    "terminated": "SELECT pg_terminate_backend(pg_backend_pid())",
}
"""Statements after which the server has ended a transaction or its session, by what has happened to it."""


class FaultyCluster:
    """Reads on primaries. After `arm(n)` the n-th step from there on fails: statements, COMMITs and their answers.
    `on_transaction` is called before each transaction begins."""

    def __init__(self, cluster: ClusterProxy, *, on_transaction: Callable[[], None] = lambda: None) -> None:
        self._cluster = cluster
        self._on_transaction = on_transaction
        self._steps_left: int | None = None
        self._error: Exception | str = Killed()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def arm(self, steps: int | None, error: Exception | str | None = None) -> None:
        """`error`: raised, or one of SERVER_FAULTS, which the server raises; after a COMMIT it has no effect."""
        self._steps_left, self._error = steps, error or Killed()

    def read(self, *args: Any, **options: Any) -> Any:
        return self._cluster.read(*args, **options | {"consistency": Consistency.STRONG})

    def scatter(self, *args: Any, **options: Any) -> Any:
        return self._cluster.scatter(*args, **options | {"consistency": Consistency.STRONG})

    @contextmanager
    def transaction(self, *args: Any, **options: Any) -> Iterator[Any]:
        self._on_transaction()
        with self._cluster.transaction(*args, **options) as connection:
            yield _FaultyConnection(connection, self)
            self.step(connection)
        self.step(None)

    def step(self, connection: Any) -> None:
        """`connection` None: the transaction is over."""
        if self._steps_left is None:
            return
        self._steps_left -= 1
        if self._steps_left > 0:
            return
        self._steps_left = None
        if isinstance(self._error, Exception):
            raise self._error
        if connection is not None:
            connection.execute(self._error)


class _FaultyConnection:
    def __init__(self, connection: Any, cluster: FaultyCluster) -> None:
        self._connection = connection
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *args: Any, **options: Any) -> Any:
        self._cluster.step(self._connection)
        return self._connection.execute(*args, **options)

    def cursor(self, *args: Any, **options: Any) -> Any:
        """Taken for COPY and executemany: one statement each."""
        self._cluster.step(self._connection)
        return self._connection.cursor(*args, **options)

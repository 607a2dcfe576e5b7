"""A cluster proxy whose transactions die at will: before any statement, before COMMIT, or after it, unheard of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy


class Killed(Exception):
    """The process that raises it is dead: only the test may catch it."""


class FaultyCluster:
    """Reads on primaries. After `arm(n)` the n-th step from there on raises: statements, COMMITs and their answers."""

    def __init__(self, cluster: ClusterProxy) -> None:
        self._cluster = cluster
        self._steps_left: int | None = None
        self._error: Exception = Killed()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def arm(self, steps: int | None, error: Exception | None = None) -> None:
        self._steps_left, self._error = steps, error or Killed()

    def read(self, *args: Any, **options: Any) -> Any:
        return self._cluster.read(*args, **options | {"consistency": Consistency.STRONG})

    def scatter(self, *args: Any, **options: Any) -> Any:
        return self._cluster.scatter(*args, **options | {"consistency": Consistency.STRONG})

    @contextmanager
    def transaction(self, *args: Any, **options: Any) -> Iterator[Any]:
        with self._cluster.transaction(*args, **options) as connection:
            yield _FaultyConnection(connection, self)
            self.step()
        self.step()

    def step(self) -> None:
        if self._steps_left is None:
            return
        self._steps_left -= 1
        if self._steps_left <= 0:
            self._steps_left = None
            raise self._error


class _FaultyConnection:
    def __init__(self, connection: Any, cluster: FaultyCluster) -> None:
        self._connection = connection
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *args: Any, **options: Any) -> Any:
        self._cluster.step()
        return self._connection.execute(*args, **options)

    def cursor(self, *args: Any, **options: Any) -> Any:
        """Taken for COPY and executemany: one statement each."""
        self._cluster.step()
        return self._connection.cursor(*args, **options)

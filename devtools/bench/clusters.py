"""Servers for the parts of one run: parts that need the same shape share a cluster, since its start takes seconds."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from devtools.bench.errors import BenchStepFailed
from devtools.bench.shard_tables import empty_shards
from devtools.bench.step_process import run_step
from devtools.localcluster import ClusterSpec, LocalCluster, run_temporary_cluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.spec import BROKER_SERVER, LOG_SERVER

FREED_SECONDS = 60.0
FREED_POLL_SECONDS = 0.05
OnNews = Callable[[str], None]


class Clusters:
    """One cluster at a time, kept until another shape is requested or the context ends."""

    def __init__(self, *, on_news: OnNews) -> None:
        self._on_news = on_news
        self._stack = ExitStack()
        self._spec: ClusterSpec | None = None
        self._cluster: LocalCluster | None = None
        self._tokens: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, spec: ClusterSpec) -> LocalCluster:
        """Prepared servers without events; no application runs.

        Returns the present cluster, emptied, if it has this shape, else stops it and starts another one. Its
        applications must have been stopped. Raises LocalClusterError, BenchError.
        """
        if self._cluster is not None and spec == self._spec:
            empty_cluster(self._cluster)
            return self._cluster
        self.close()
        self._on_news(f"starting servers: {spec.shards} shards, {spec.replicas_per_shard} replicas each")
        cluster = self._stack.enter_context(run_temporary_cluster(spec=spec))
        cluster.start_servers()
        cluster.prepare()
        self._spec, self._cluster = spec, cluster
        return cluster

    @property
    def token(self) -> str:
        """Token of an API key that reads and writes, in the present cluster. Raises BenchError."""
        return self._get_token("key")

    @property
    def public_token(self) -> str:
        """Token of a public API key, in the present cluster. Raises BenchError."""
        return self._get_token("public_key")

    def _get_token(self, step: str) -> str:
        if self._cluster is None:
            raise BenchStepFailed("no cluster has been started yet")
        if step not in self._tokens:
            [said] = run_step(self._cluster, step)
            self._tokens[step] = str(said["token"])
        return self._tokens[step]

    def close(self) -> None:
        self._spec = self._cluster = None
        self._tokens = {}
        stack, self._stack = self._stack, ExitStack()
        stack.close()


def empty_cluster(cluster: LocalCluster) -> None:
    """Empty shards, log, broker and cache; API keys and topology are kept. No application may run.

    Raises LocalClusterError.
    """
    empty_shards(cluster)
    for name in (LOG_SERVER, BROKER_SERVER):
        cluster.valkey(name).empty_log()
        with cluster.valkey(name).session() as server:
            _await_freed(server)


def _await_freed(server: Any) -> None:
    """Wait until the server has freed its memory, which is measured, and which would take CPU time of the next part."""
    deadline = time.monotonic() + FREED_SECONDS
    while server.info("memory")["lazyfree_pending_objects"]:
        if time.monotonic() >= deadline:
            raise NotReady(f"a log or cache server has not freed its memory after {FREED_SECONDS:.0f} s")
        time.sleep(FREED_POLL_SECONDS)

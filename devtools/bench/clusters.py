"""Servers for the parts of one run: starting some costs seconds, so parts that want the same shape share them."""

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
    """One cluster at a time; the last one stays until another shape is wanted, or the end of the context."""

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
        """Prepared servers that hold no event; no application runs, all may be started.

        Ends the cluster given before, or hands it out again, emptied, if it has this shape: whoever had it must have
        stopped the applications. Raises LocalClusterError, BenchError.
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
        """Of a key that reads and writes, in the cluster given last. Raises BenchError."""
        return self._get_token("key")

    @property
    def public_token(self) -> str:
        """Of a page's key, in the cluster given last. Raises BenchError."""
        return self._get_token("public_key")

    def _get_token(self, step: str) -> str:
        if self._cluster is None:
            raise BenchStepFailed("no cluster was asked for yet")
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
    """Shards, log, broker and cache as before the first event; keys and topology stay. No application may run.

    Raises LocalClusterError.
    """
    empty_shards(cluster)
    for name in (LOG_SERVER, BROKER_SERVER):
        cluster.valkey(name).empty_log()
        with cluster.valkey(name).session() as server:
            _await_freed(server)


def _await_freed(server: Any) -> None:
    """Until the server is done with it: its memory is measured, and it would share a core with what comes next."""
    deadline = time.monotonic() + FREED_SECONDS
    while server.info("memory")["lazyfree_pending_objects"]:
        if time.monotonic() >= deadline:
            raise NotReady(f"the memory of a log or cache is not free after {FREED_SECONDS:.0f} s")
        time.sleep(FREED_POLL_SECONDS)

"""The local cluster as the settings describe it, and how its commands are stopped."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from localcluster import ClusterSpec, LocalCluster
from viewcounter.config import Config

INTERRUPTED_STATUS = 130
START_PARTS = 3
"""Servers, preparation and applications, each within its own bound."""


class StopSignals:
    """The first signal asks for an orderly stop. The second ends us at once: the kernel then stops our children."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self._on_stop = on_stop

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopped.is_set():
            os._exit(INTERRUPTED_STATUS)
        self.stopped.set()
        self._on_stop()


def build_local_cluster(config: Config, *, report: Callable[[str], None]) -> LocalCluster:
    return LocalCluster(config.state_dir, spec=build_spec(config), outer=os.environ, report=report)


def build_spec(config: Config) -> ClusterSpec:
    return ClusterSpec(
        shards=config.local_shards,
        replicas_per_shard=config.local_replicas_per_shard,
        partitions=config.local_partitions,
        zone=config.zone,
        web_workers=config.web_workers,
        worker_processes=config.worker_processes,
        movers=config.local_movers,
        server_ready_seconds=config.local_ready_seconds,
        application_ready_seconds=config.local_ready_seconds,
        postgres_bin_dir=config.postgres_bin_dir,
        valkey_server=config.valkey_server,
    )

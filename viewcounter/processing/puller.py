"""The pull process: drains partitions on every shard of the topology until it is stopped.

It needs the log, the shards and a topology, if only from its disk copy. Broker, cache and control database may be away.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from clusterproxy.errors import ClusterProxyError
from configservice.registry.heartbeat import ProcessCondition, start_heartbeat
from configservice.registry.services import ServiceKind, ServiceState
from configservice.topology.model import Shard
from runtime.http.metrics_server import Health, start_process_server
from runtime.shutdown import is_stopping, request_stop
from runtime.transitions import OutageLog
from viewcounter.cluster import get_cluster
from viewcounter.config import Config
from viewcounter.eventlog.registry import confirm_event_log, get_event_log
from viewcounter.processing.ownership import WorkerId
from viewcounter.processing.shard_puller import PullTools, ShardProgress, ShardPuller
from viewcounter.processing.worker import build_drainer

logger = logging.getLogger(__name__)

SHARDS_SECONDS = 1.0
"""Interval at which the shards of the topology are compared with those that are pulled."""


class PullProcess:
    """`run` blocks until `stop`, which any thread and a signal handler may call."""

    def __init__(self, config: Config, *, metrics_bind: str = "") -> None:
        self._config = config
        self._metrics_bind = metrics_bind
        self._worker = WorkerId(f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}", datetime.now(UTC))
        self._stopped = threading.Event()
        self._pullers: dict[int, ShardPuller] = {}
        self._topology_outage = OutageLog(
            logger,
            failed="there is no topology, nothing is counted",
            recovered="there is a topology again",
        )

    def stop(self) -> None:
        request_stop()  # drains end after the flush in progress
        self._stopped.set()

    def run(self) -> None:
        """Raises OSError if the address of the metrics server cannot be bound."""
        bind = self._metrics_bind
        server = start_process_server(bind, check_health=self.check_health) if bind else None
        heartbeat = start_heartbeat(kind=ServiceKind.PULLER, describe=self.describe)
        logger.info("pull process %s is ready", self._worker.id)
        try:
            while not self._stopped.is_set():
                self._follow_topology()
                self._stopped.wait(SHARDS_SECONDS)
        finally:
            self._end(list(self._pullers.values()))
            heartbeat.stop()
            if server is not None:
                server.shutdown()
        logger.info("pull process %s has stopped", self._worker.id)

    def describe(self) -> ProcessCondition:
        """For the service registry."""
        progress = self._list_progress()
        if is_stopping():
            return ProcessCondition(ServiceState.STOPPING)
        if self._topology_outage.failures or not progress:
            return ProcessCondition(ServiceState.IMPAIRED, "no topology received yet")
        state = ServiceState.IMPAIRED if any(shard.trouble for shard in progress) else ServiceState.SERVING
        detail = "; ".join(format_progress(shard) for shard in progress if shard.partitions or shard.trouble)
        return ProcessCondition(state, detail or "no partitions", get_cluster().topology.epoch)

    def check_health(self) -> Health:
        """Always healthy: a restart of this process would not bring back a server that is down."""
        return True, {
            "status": "ok",
            "shards": {
                shard.shard: {"partitions": shard.partitions, "trouble": shard.trouble}
                for shard in self._list_progress()
            },
        }

    def _list_progress(self) -> list[ShardProgress]:
        return [puller.describe() for puller in list(self._pullers.values())]

    def _follow_topology(self) -> None:
        try:
            shards = {shard.id: shard for shard in get_cluster().topology.shards}
        except ClusterProxyError as error:
            self._topology_outage.report_failure(error)
            return
        self._topology_outage.report_success()
        for shard_id, shard in shards.items():
            if shard_id not in self._pullers:
                self._pullers[shard_id] = self._start(shard, shard_count=len(shards))
        self._end([self._pullers.pop(shard_id) for shard_id in self._pullers.keys() - shards.keys()])

    def _start(self, shard: Shard, *, shard_count: int) -> ShardPuller:
        # Of the memory for event ids each shard gets its part; single drains are rare, so they share it.
        id_cache_bytes = self._config.drain.id_cache_max_bytes // shard_count // 2
        puller = ShardPuller(
            shard,
            worker=self._worker,
            tools=PullTools(
                confirm_log=confirm_event_log,
                cluster=get_cluster(),
                log=get_event_log(),
                settings=self._config.pull,
                build_drainer=lambda: build_drainer(self._config, id_cache_bytes=id_cache_bytes),
            ),
        )
        puller.start()
        return puller

    def _end(self, pullers: list[ShardPuller]) -> None:
        """All shards at once: none waits for another that does not answer."""
        _wait_for(pullers, ShardPuller.stop_draining, within_seconds=self._config.pull.stop_seconds)
        _wait_for(pullers, ShardPuller.release, within_seconds=self._config.pull.lease_seconds)


def _wait_for(pullers: list[ShardPuller], end: Callable[..., None], *, within_seconds: float) -> None:
    for puller in pullers:
        end(puller)
    ends_at = time.monotonic() + within_seconds
    for puller in pullers:
        end(puller, timeout_seconds=max(0.001, ends_at - time.monotonic()))


def format_progress(progress: ShardProgress) -> str:
    """For people: `shard1: partitions 0-7, 9; 0.4 s behind`."""
    if progress.trouble:
        return progress.trouble
    return f"{progress.shard}: partitions {format_ranges(progress.partitions)}, {progress.seconds_behind:.1f} s behind"


def format_ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers, consecutive ones as a range."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, each)) for each in ranges)

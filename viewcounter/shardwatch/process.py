"""The process `manage.py run_shardproxy`: watches instances and publishes their health, kills and lag."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from clusterproxy.errors import ClusterProxyError, NoTopology
from clusterproxy.proxy import ClusterProxy
from clusterproxy.registry import InstanceRegistry
from configservice.monitoring.witness_reports import publish_reports
from configservice.registry.heartbeat import ProcessCondition
from configservice.registry.services import ServiceState
from configservice.topology.cluster_cache import get_cluster_cache
from configservice.topology.model import Shard, Topology
from runtime.http.metrics_server import Health, start_process_server
from runtime.periodic import PeriodicTask
from shardproxy.daemon import Selection, ShardProxyDaemon, Target, plan_watches
from shardproxy.errors import ShardProxyError
from shardproxy.kill_plan import KillPolicy
from shardproxy.watch import InstanceWatch
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.config import Config
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import EventLog
from viewcounter.health.registration import start_shard_proxy_heartbeat
from viewcounter.shardwatch.instance_lag import measure_shard_lag, publish_instance_lag
from viewcounter.shardwatch.instance_reports import InstanceReporter, WitnessWriter
from viewcounter.shardwatch.kills import KillStore

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 1.0
"""Interval at which the watches are matched with the topology of the process."""
STUCK_SECONDS = 30.0
"""A watch that has finished no round for this long is stuck; the time limits of one round add up to far less."""


class ShardProxyProcess:
    """`run` blocks until `stopping` is set; it goes on while a database, the cache or the log does not answer."""

    def __init__(self, config: Config, selection: Selection, *, cluster: ClusterProxy, log: EventLog) -> None:
        self._config = config
        self._selection = selection
        self._cluster = cluster
        self._log = log
        # Positions are readable by the instance's own role only; all other queries use the watch's connection.
        self._registry = InstanceRegistry(
            replace(config.pool, max_connections=1, flush_reserved=0, report_connections=1)
        )
        self._kills = KillStore(config.kill)
        observer = f"{socket.gethostname()}:{os.getpid()}"
        authenticator = build_authenticator(CacheValue.WITNESS, config)
        self._witness = WitnessWriter(
            publish=lambda reports: publish_reports(get_cluster_cache(), observer, reports, authenticator=authenticator)
        )
        self._daemon = ShardProxyDaemon(selection=selection, build_watch=self._build_watch)
        self._lag = PeriodicTask(
            "instance-lag",
            self._measure_lag,
            interval_seconds=config.shardproxy.metrics_seconds,
            first_after_seconds=config.shardproxy.metrics_seconds,
        )

    def run(self, stopping: threading.Event) -> None:
        bind = self._config.shardproxy.metrics_bind
        server = start_process_server(bind, check_health=self.check_health) if bind else None
        self._kills.start()
        self._witness.start()
        heartbeat = start_shard_proxy_heartbeat(self.describe)
        self._lag.start()
        try:
            while not stopping.wait(FOLLOW_SECONDS):
                topology = self._find_topology()
                if topology is not None:
                    self._daemon.follow(topology)
        finally:
            heartbeat.stop()
            self._stop()
            if server is not None:
                server.shutdown()

    def check_health(self) -> Health:
        """Healthy while no watch is stuck, also when instances are down."""
        now = time.monotonic()
        watches = self._daemon.watches
        stuck = [watch.instance.name for watch in watches if now - watch.round_ended_at > STUCK_SECONDS]
        instances = {watch.instance.name: "up" if watch.is_reachable else "down" for watch in watches}
        return not stuck, {"status": "stuck" if stuck else "ok", "stuck": stuck, "instances": instances}

    def describe(self) -> ProcessCondition:
        """For the service registry."""
        is_well, body = self.check_health()
        topology = self._find_topology()
        if topology is None:
            return ProcessCondition(ServiceState.IMPAIRED, detail="no topology received yet")
        if not is_well:
            return ProcessCondition(ServiceState.IMPAIRED, f"stuck: {', '.join(body['stuck'])}", topology.epoch)
        return ProcessCondition(detail=f"watches {', '.join(sorted(body['instances']))}", epoch=topology.epoch)

    def _find_topology(self) -> Topology | None:
        try:
            return self._cluster.topology
        except NoTopology as error:
            logger.warning("no instance is watched yet: %s", error)
            return None

    def _build_watch(self, target: Target) -> InstanceWatch:
        reporter = InstanceReporter(
            shard=target.shard, instance=target.instance.name, kills=self._kills, witness=self._witness
        )
        config = self._config
        policy = KillPolicy(
            application=config.pool.application_name,
            users=frozenset({target.instance.user, config.shardproxy.user, config.configservice.user}) - {""},
            query=config.pool.query,
            reaper=config.reaper,
        )
        return InstanceWatch(target.instance, config.shardproxy, policy, pool=config.pool, observer=reporter)

    def _measure_lag(self) -> None:
        topology = self._find_topology()
        if topology is None:
            return
        self._registry.apply(topology)
        watched = plan_watches(topology, self._selection)
        for shard in topology.shards:
            if any(instance.name in watched for instance in shard.instances):
                self._publish_lag(topology, shard, is_watched=watched.__contains__)

    def _publish_lag(self, topology: Topology, shard: Shard, *, is_watched: Callable[[str], bool]) -> None:
        seconds = self._config.shardproxy.answer_seconds
        try:
            for lag in measure_shard_lag(self._registry, self._log, topology, shard, seconds=seconds):
                if is_watched(lag.instance):
                    publish_instance_lag(lag)
        except (ShardProxyError, ClusterProxyError, EventLogError) as error:
            logger.debug("lag of %s is not measured: %s", shard.name, error)
        except Exception:  # one shard must not hide the lag of the others
            logger.exception("lag of %s is not measured", shard.name)

    def _stop(self) -> None:
        """Within `shardproxy.stop_seconds`, shared by the parts in turn."""
        self._lag.stop()
        ends_at = time.monotonic() + self._config.shardproxy.stop_seconds
        self._daemon.close(deadline_at=ends_at)
        self._kills.stop(timeout_seconds=max(0.0, ends_at - time.monotonic()))
        self._witness.stop()
        self._lag.stop(timeout_seconds=max(0.0, ends_at - time.monotonic()))
        self._registry.close()

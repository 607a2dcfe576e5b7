"""The cluster proxy of this process: where its topology comes from and which bounds it gets."""

import contextlib
from functools import cache

from django.conf import settings
from django.db import close_old_connections

from clusterproxy.proxy import ClusterProxy
from clusterproxy.settings import ClusterSettings
from configservice import publication
from configservice.cluster_cache import ClusterCache
from configservice.errors import ClusterUnknown, TopologyCacheEmpty
from configservice.feed import PublishedEpochs
from configservice.published_snapshot import PublishedSnapshot
from shardproxy.query import QueryClass
from shardproxy.settings import PoolSettings
from viewcounter.config import Config, get_config
from viewcounter.metrics import READ_FAILED_ATTEMPTS, TOPOLOGIES_REFUSED


class CacheSource:
    """The snapshot the config service pushes: cheap to ask, may be old. Filled again here when it was restarted."""

    place = "the cache"

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        try:
            published = publication.read_from_cache(_get_cluster_cache())
        except TopologyCacheEmpty:
            return self._fill()
        return None if published == held else published

    def check(self) -> None:
        """Raises TopologyCacheUnavailable, ClusterUnknown; an empty one is filled by the next `fetch`."""
        with contextlib.suppress(TopologyCacheEmpty):
            publication.read_from_cache(_get_cluster_cache())

    def _fill(self) -> PublishedSnapshot | None:
        try:
            return publication.fill_empty_cache(_get_cluster_cache())
        finally:
            close_old_connections()


class ControlDatabaseSource:
    """The snapshot of record."""

    place = "the control database"

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        try:
            return publication.read_from_control_database(held)
        finally:
            close_old_connections()  # we run in a thread that lives outside any request

    def check(self) -> None:
        """Raises ControlDatabaseUnavailable."""
        self.fetch(None)


@cache
def get_cluster() -> ClusterProxy:
    """One a process; a forked child gets new threads and pools in the same object."""
    config = get_config()
    return ClusterProxy(
        topology_sources=[CacheSource(), ControlDatabaseSource()],
        open_feed=lambda: PublishedEpochs(settings.TOPOLOGY_CACHE_URL, get_cluster_id=get_cluster_id),
        settings=build_cluster_settings(config),
        on_failed_attempt=lambda instance, outcome: READ_FAILED_ATTEMPTS.labels(instance, outcome).inc(),
        on_refused=lambda reason: TOPOLOGIES_REFUSED.labels(reason).inc(),
    )


def get_cluster_id() -> str:
    """Of the cluster that this process belongs to; never waits. Raises ClusterUnknown until it has learned it."""
    cluster_id = get_cluster().known_cluster_id
    if cluster_id is None:
        raise ClusterUnknown("no topology of the cluster has been seen yet and VIEWCOUNTER_CLUSTER_ID is not set")
    return cluster_id


def _get_cluster_cache() -> ClusterCache:
    return ClusterCache(settings.TOPOLOGY_CACHE_URL, get_cluster_id())


def build_cluster_settings(config: Config) -> ClusterSettings:
    return ClusterSettings(
        state_dir=config.state_dir,
        cluster_id=config.cluster_id,
        zone=config.zone,
        scatter_seconds=config.scatter_seconds,
        scatter_max_threads=config.scatter_max_threads,
        scatter_max_waiting=config.scatter_max_waiting,
        health_interval_seconds=config.health_interval_seconds,
        health_probe_seconds=config.health_probe_seconds,
        replica_max_lag_seconds=config.replica_max_lag_seconds,
        read_balancer=config.read_balancer,
        read_wait_seconds=config.read_wait_seconds,
        read_poll_seconds=config.read_poll_seconds,
        read_max_waiting=config.read_max_waiting,
        topology_poll_seconds=config.topology_poll_seconds,
        topology_first_wait_seconds=config.topology_first_wait_seconds,
        pool=PoolSettings(
            max_connections=config.pool_max_connections,
            max_waiting=config.pool_max_waiting,
            flush_reserved=config.pool_flush_reserved,
            report_connections=config.pool_report_connections,
            target_wait_seconds=config.pool_target_wait_seconds,
            response_fade_seconds=config.response_fade_seconds,
            wait_seconds=config.pool_wait_seconds,
            connect_timeout_seconds=config.connect_timeout_seconds,
            tls=config.shard_tls,
            max_lifetime_seconds=config.pool_max_lifetime_seconds,
            max_idle_seconds=config.pool_max_idle_seconds,
            lock_timeout_seconds=config.lock_timeout_seconds,
            answer_grace_seconds=config.answer_grace_seconds,
            breaker_open_seconds=config.breaker_open_seconds,
            rollback_seconds=config.rollback_seconds,
            password_refs=config.password_refs,
            query_seconds={
                QueryClass.POINT: config.point_query_seconds,
                QueryClass.RANGE: config.range_query_seconds,
                QueryClass.REPORT: config.report_query_seconds,
                QueryClass.FLUSH: config.flush_query_seconds,
                QueryClass.MAINTENANCE: config.maintenance_query_seconds,
            },
        ),
    )

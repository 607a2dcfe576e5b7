"""The cluster proxy of this process: where its topology comes from and which bounds it gets."""

import contextlib
import logging
from functools import cache

from django.conf import settings
from django.db import close_old_connections

from clusterproxy.proxy import ClusterProxy
from configservice.errors import (
    ClusterUnknown,
    ControlDatabaseUnavailable,
    TopologyCacheEmpty,
    TopologyCacheUnavailable,
)
from configservice.topology import publication
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.keys import split_public_keys
from configservice.topology.published_snapshot import PublishedSnapshot
from configservice.topology.subscription import PublishedEpochs
from runtime.errors import Retryable
from runtime.metrics import READ_FAILED_ATTEMPTS, TOPOLOGIES_REFUSED
from viewcounter.config import get_config

logger = logging.getLogger(__name__)

SIGNED_WITHIN_SECONDS = 5.0
"""A config service signs what others publish within milliseconds."""


class TopologyUnsigned(Exception, Retryable):
    """The newest change of the topology has no signature, so that no process acts on it: start a config service that
    has the signing key."""


class CacheSource:
    """The snapshot that config services push: cheap to ask, may be old. Filled again here when it was restarted."""

    place = "the cache"
    is_open = True

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        cluster_cache = _find_cluster_cache()
        try:
            published = publication.read_from_cache(cluster_cache)
        except TopologyCacheEmpty:
            return self._fill(cluster_cache)
        return None if published == held else published

    def check(self) -> None:
        """Raises TopologyCacheUnavailable, ClusterUnknown; an empty one is filled by the next `fetch`."""
        with contextlib.suppress(TopologyCacheEmpty):
            publication.read_from_cache(_find_cluster_cache())

    def _fill(self, cluster_cache: ClusterCache) -> PublishedSnapshot | None:
        try:
            return publication.fill_empty_cache(cluster_cache)
        finally:
            close_old_connections()


class ControlDatabaseSource:
    """The snapshot of record."""

    place = "the control database"
    is_open = False

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        try:
            return publication.read_from_control_database(held, prefers_signed=bool(settings.TOPOLOGY_PUBLIC_KEYS))
        finally:
            close_old_connections()  # we run in a thread that lives outside any request

    def check(self) -> None:
        """Raises ControlDatabaseUnavailable."""
        self.fetch(None)


def check_signature() -> None:
    """Raises TopologyUnsigned. While the control database is away there is nothing to sign."""
    try:
        epoch = publication.find_unsigned_epoch(after_seconds=SIGNED_WITHIN_SECONDS)
    except ControlDatabaseUnavailable:
        return
    finally:
        close_old_connections()  # we run in a thread that lives outside any request
    if epoch is not None:
        raise TopologyUnsigned(f"epoch {epoch}")


class HintedSource(ControlDatabaseSource):
    """The control database, spared while the cache holds nothing new: for processes that cannot verify what is there.

    What the cache says is never believed, only that it says something else.
    """

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        with contextlib.suppress(TopologyCacheUnavailable, ClusterUnknown):
            if held is not None and publication.read_from_cache(_find_cluster_cache()) == held:
                return None
        return super().fetch(held)


@cache
def get_cluster() -> ClusterProxy:
    """One a process; a forked child gets new threads and pools in the same object."""
    config = get_config()
    if not config.cluster.topology_public_keys:
        logger.warning("VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS is empty: only the control database is believed")
    return ClusterProxy(
        topology_sources=[
            CacheSource() if config.cluster.topology_public_keys else HintedSource(),
            ControlDatabaseSource(),
        ],
        open_feed=lambda: PublishedEpochs(settings.TOPOLOGY_CACHE_URL, get_cluster_id=get_cluster_id),
        settings=config.cluster,
        pool=config.pool,
        state_dir=config.state_dir,
        on_failed_attempt=lambda instance, outcome: READ_FAILED_ATTEMPTS.labels(instance, outcome).inc(),
        on_refused=lambda reason: TOPOLOGIES_REFUSED.labels(reason).inc(),
    )


def get_cluster_id() -> str:
    """Of the cluster that this process belongs to; never waits. Raises ClusterUnknown until it has learned it."""
    cluster_id = get_cluster().known_cluster_id
    if cluster_id is None:
        raise ClusterUnknown("no topology of the cluster has been seen yet and VIEWCOUNTER_CLUSTER_ID is not set")
    return cluster_id


def _find_cluster_cache() -> ClusterCache:
    """A process that knows nothing but public keys finds its cluster by them. Raises ClusterUnknown, and
    TopologyCacheUnavailable."""
    url = settings.TOPOLOGY_CACHE_URL
    try:
        return ClusterCache(url, get_cluster_id())
    except ClusterUnknown:
        cluster_id = publication.find_cluster_of_signers(url, split_public_keys(settings.TOPOLOGY_PUBLIC_KEYS))
        if cluster_id is None:
            raise
        return ClusterCache(url, cluster_id)

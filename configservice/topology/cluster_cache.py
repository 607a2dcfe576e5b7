"""Access to the cache server for one cluster. Clusters may share a server, since every key contains the cluster id.

Values in the cache may be lost, and may have been written by anyone: see decision 0010.
"""

from dataclasses import dataclass
from functools import cache

from django.conf import settings

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from runtime.valkey import ValkeyClient, build_client

CACHE_TIMEOUT_SECONDS = 0.5
CACHE_MAX_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class ClusterCache:
    """One cluster's part of the server at `url`."""

    url: str
    cluster_id: str

    @property
    def client(self) -> ValkeyClient:
        return get_cache_client(self.url)

    def format_key(self, name: str) -> str:
        return format_cache_key(self.cluster_id, name)

    def format_tagged_keys(self, name: str, *parts: str) -> tuple[str, ...]:
        """A key for each part, all on one node of a Redis Cluster: they share a hash tag."""
        return tuple(f"{{{self.format_key(name)}}}:{part}" for part in parts)


def get_cluster_cache() -> ClusterCache:
    """The cache of this process's cluster. Raises ClusterUnknown; the first call may query the control database."""
    return ClusterCache(settings.TOPOLOGY_CACHE_URL, settings.CLUSTER_ID or read_cluster_id())


@cache
def read_cluster_id() -> str:
    """The cluster id in the control database, which is queried once. Raises ClusterUnknown."""
    # Not at the top: a process that has the id in its settings does without Django's models, as beat does.
    from django.db import DatabaseError, close_old_connections, connection  # noqa: PLC0415

    from configservice.models import Cluster  # noqa: PLC0415

    try:
        cluster = Cluster.objects.first()
    except DatabaseError as error:
        connection.close()
        raise ClusterUnknown(
            f"VIEWCOUNTER_CLUSTER_ID is not set and the control database does not answer: {error}"
        ) from error
    finally:
        if not connection.in_atomic_block:
            close_old_connections()  # the calling thread may never use the control database again
    if cluster is None:
        raise ClusterUnknown("the control database holds no cluster yet: run `manage.py init_cluster`")
    return str(cluster.id)


@cache
def get_cache_client(url: str) -> ValkeyClient:
    """The one client of this process for each cache server."""
    return build_client(url, timeout_seconds=CACHE_TIMEOUT_SECONDS, max_connections=CACHE_MAX_CONNECTIONS)

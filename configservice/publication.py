"""Publishes topology: a new epoch in the control database, then a copy in the cache that processes poll.

The control database is the truth; the cache only spares it the polling, so a dead cache never fails a publish. A copy
that was missed, or overtaken by an older one, is noticed by readers that ask the database now and then.
"""

import logging
from functools import partial

import msgspec
import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import MD5

from configservice.cluster_cache import ClusterCache
from configservice.errors import ControlDatabaseUnavailable, TopologyCacheEmpty, TopologyCacheUnavailable
from configservice.models import TopologyEpoch
from configservice.published_snapshot import (
    PublishedSnapshot,
    build_published_snapshot,
    decode_published_snapshot,
    encode_published_snapshot,
)
from configservice.snapshot import build_topology
from configservice.topology import Topology

logger = logging.getLogger(__name__)

TOPOLOGY_KEY = "topology:2"
TOPOLOGY_CHANNEL = "topology:published:2"

_LOCK_KEY = 0x76_63_74_6F_70_6F  # "vctopo"


def lock_topology() -> None:
    """Until the end of the current transaction, nobody else publishes or makes a cluster."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])


def publish(*, reason: str, actor: str) -> Topology:
    """The snapshot that is true now: the newest one, or a new epoch if the tables say something else by now.

    Inside a caller's transaction everything takes effect with its commit. Raises ClusterNotInitialised, OtherCluster.
    """
    with transaction.atomic():
        lock_topology()
        newest = TopologyEpoch.objects.order_by("-epoch").first()
        topology = build_topology(epoch=1 if newest is None else newest.epoch + 1)
        published = build_published_snapshot(topology)
        if newest is not None and msgspec.structs.replace(newest.topology, epoch=topology.epoch) == topology:
            topology, published = newest.topology, newest.published
        else:
            TopologyEpoch.objects.create(
                epoch=topology.epoch, snapshot=published.snapshot, reason=reason[:200], actor=actor[:150]
            )
        cluster_cache = ClusterCache(settings.TOPOLOGY_CACHE_URL, topology.cluster_id)
        transaction.on_commit(partial(push_to_cache, cluster_cache, published, topology.epoch), robust=True)
    return topology


def push_to_cache(cluster_cache: ClusterCache, published: PublishedSnapshot, epoch: int) -> None:
    """Best effort: a cache that does not take it is logged, readers find the snapshot in the control database."""
    try:
        with cluster_cache.client.pipeline(transaction=True) as pipeline:
            pipeline.set(cluster_cache.name_key(TOPOLOGY_KEY), encode_published_snapshot(published))
            pipeline.publish(cluster_cache.name_key(TOPOLOGY_CHANNEL), str(epoch))
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("epoch %d is published, but the cache did not take it: %s", epoch, error)


def read_from_cache(cluster_cache: ClusterCache) -> PublishedSnapshot:
    """What the cache holds, whoever wrote it. Raises TopologyCacheUnavailable, TopologyCacheEmpty."""
    key = cluster_cache.name_key(TOPOLOGY_KEY)
    try:
        data = cluster_cache.client.get(key)
    except redis.RedisError as error:
        raise TopologyCacheUnavailable(str(error)) from error
    if not isinstance(data, bytes):
        raise TopologyCacheEmpty(f"{key} holds nothing")
    try:
        return decode_published_snapshot(data)
    except msgspec.DecodeError as error:
        raise TopologyCacheUnavailable(f"{key} holds no snapshot: {error}") from error


def fill_empty_cache(cluster_cache: ClusterCache) -> PublishedSnapshot | None:
    """Gives a cache that has lost its content the newest snapshot; what somebody else put there stays. Returns it.

    Raises ControlDatabaseUnavailable and TopologyCacheUnavailable.
    """
    published = read_from_control_database()
    if published is not None:
        try:
            key = cluster_cache.name_key(TOPOLOGY_KEY)
            cluster_cache.client.set(key, encode_published_snapshot(published), nx=True)
        except redis.RedisError as error:
            raise TopologyCacheUnavailable(str(error)) from error
    return published


def read_from_control_database(held: PublishedSnapshot | None = None) -> PublishedSnapshot | None:
    """The newest snapshot; None if there is none or it is `held`. Raises ControlDatabaseUnavailable.

    For a thread of its own: after an error the thread's connection is closed, so that the next call makes a new one.
    """
    newest = TopologyEpoch.objects.order_by("-epoch")
    try:
        if held is not None:
            # The whole snapshot is sent only where it differs: every process asks every few seconds.
            newest_digest = newest.annotate(digest=MD5("snapshot")).values_list("digest", flat=True).first()
            if newest_digest in (None, held.compute_md5()):
                return None
        row = newest.first()
    except DatabaseError as error:
        connection.close()
        raise ControlDatabaseUnavailable(str(error)) from error
    return None if row is None else row.published

"""Publishes topology: a new epoch in the control database, then a copy in the cache that processes poll.

The control database is the truth; the cache only spares it the polling, so a dead cache never fails a publish. A copy
that was missed, or overtaken by an older one, is noticed by readers that ask the database now and then.
"""

import logging
from functools import cache, partial

import msgspec
import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Max
from redis.backoff import NoBackoff
from redis.retry import Retry

from configservice.errors import ControlDatabaseUnavailable, TopologyCacheEmpty, TopologyCacheUnavailable
from configservice.models import TopologyEpoch
from configservice.snapshot import build_topology
from configservice.topology import Topology, decode_topology, encode_topology

logger = logging.getLogger(__name__)

CACHE_KEY = "viewcounter:topology"
CACHE_CHANNEL = "viewcounter:topology:published"
CACHE_TIMEOUT_SECONDS = 0.5
CACHE_MAX_CONNECTIONS = 4

_LOCK_KEY = 0x76_63_74_6F_70_6F  # "vctopo"


def lock_topology() -> None:
    """Until the end of the current transaction, nobody else publishes or makes a cluster."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])


def publish(*, reason: str, actor: str) -> Topology:
    """The snapshot that is true now: the newest one, or a new epoch if the tables say something else by now.

    Inside a caller's transaction everything takes effect with its commit. Raises ClusterNotInitialised.
    """
    with transaction.atomic():
        lock_topology()
        newest = TopologyEpoch.objects.order_by("-epoch").first()
        topology = build_topology(epoch=1 if newest is None else newest.epoch + 1)
        published = None if newest is None else decode_topology(newest.snapshot)
        if published is not None and msgspec.structs.replace(published, epoch=topology.epoch) == topology:
            topology = published
        else:
            TopologyEpoch.objects.create(
                epoch=topology.epoch,
                snapshot=encode_topology(topology).decode(),
                reason=reason[:200],
                actor=actor[:150],
            )
        transaction.on_commit(partial(push_to_cache, settings.TOPOLOGY_CACHE_URL, topology), robust=True)
    return topology


def push_to_cache(url: str, topology: Topology) -> None:
    """Best effort: a cache that does not take it is logged, readers find the snapshot in the control database."""
    try:
        with get_cache_client(url).pipeline(transaction=True) as pipeline:
            pipeline.set(CACHE_KEY, encode_topology(topology))
            pipeline.publish(CACHE_CHANNEL, str(topology.epoch))
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("epoch %d is published, but the cache did not take it: %s", topology.epoch, error)


def read_from_cache(url: str, known_epoch: int = 0) -> Topology | None:
    """The cache's snapshot; None if it is `known_epoch`. Raises TopologyCacheUnavailable, TopologyCacheEmpty."""
    try:
        data = get_cache_client(url).get(CACHE_KEY)
    except redis.RedisError as error:
        raise TopologyCacheUnavailable(str(error)) from error
    if not isinstance(data, bytes):
        raise TopologyCacheEmpty(f"{CACHE_KEY} holds nothing")
    try:
        topology = decode_topology(data)
    except msgspec.DecodeError as error:
        raise TopologyCacheUnavailable(f"{CACHE_KEY} holds no snapshot: {error}") from error
    return None if topology.epoch == known_epoch else topology


def fill_empty_cache(url: str) -> Topology | None:
    """Gives a cache that has lost its content the newest snapshot; what somebody else put there stays. Returns it.

    Raises ControlDatabaseUnavailable and TopologyCacheUnavailable.
    """
    topology = read_from_control_database()
    if topology is not None:
        try:
            get_cache_client(url).set(CACHE_KEY, encode_topology(topology), nx=True)
        except redis.RedisError as error:
            raise TopologyCacheUnavailable(str(error)) from error
    return topology


def read_from_control_database(known_epoch: int = 0) -> Topology | None:
    """The newest snapshot; None if there is none or it is `known_epoch`. Raises ControlDatabaseUnavailable.

    For a thread of its own: after an error the thread's connection is closed, so that the next call makes a new one.
    """
    try:
        newest: int | None = TopologyEpoch.objects.aggregate(newest=Max("epoch"))["newest"]
        if newest is None or newest == known_epoch:
            return None
        return decode_topology(TopologyEpoch.objects.values_list("snapshot", flat=True).get(epoch=newest))
    except DatabaseError as error:
        connection.close()
        raise ControlDatabaseUnavailable(str(error)) from error


@cache
def get_cache_client(url: str) -> redis.Redis:
    """One client a cache and process. redis-py's own defaults would retry for seconds: one attempt, bounded."""
    return redis.Redis.from_url(
        url,
        socket_timeout=CACHE_TIMEOUT_SECONDS,
        socket_connect_timeout=CACHE_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        max_connections=CACHE_MAX_CONNECTIONS,
    )
